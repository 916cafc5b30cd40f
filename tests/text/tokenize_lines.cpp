// tokenize_lines DIR: reads JSON strings from standard input, one a line, and prints for each a
// JSON array of its ids and, in hexadecimal digits, of the bytes that they decode to.
// tokenizer_fuzz.py compares both with those of Hugging Face.

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
      const auto ids = tokenizer.encode(text).ids;
      std::string digits;
      for (const char byte : tokenizer.decode(ids)) {
        digits += "0123456789abcdef"[static_cast<unsigned char>(byte) >> 4];
        digits += "0123456789abcdef"[byte & 15];
      }
      std::cout << nlohmann::json({ids, digits}) << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << "tokenize_lines: " << error.what() << '\n';
    return 1;
  }
}
