// tokenize_lines DIR: reads JSON strings from standard input, one a line, and prints for each the
// JSON array of its ids. tokenizer_fuzz.py compares them with those of Hugging Face.

#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "motet/text/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenize_lines DIR < strings.jsonl\n";
    return 2;
  }
  try {
    const auto tokenizer = motet::Tokenizer::load(argv[1]);
    for (std::string line; std::getline(std::cin, line);) {
      const auto text = nlohmann::json::parse(line).get<std::string>();
      std::cout << nlohmann::json(tokenizer.encode(text).ids) << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << "tokenize_lines: " << error.what() << '\n';
    return 1;
  }
}
