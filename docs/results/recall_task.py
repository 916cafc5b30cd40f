#!/usr/bin/env python3
"""Texts that ask for a number which they hold.   recall_task.py MODEL BOOK LENGTH COUNT > recall.jsonl

Each is sentences of a book with one more among them, "The special magic number for Rome is 1234567.", and at its end
the question for it and the answer. All are of exactly LENGTH tokens, the answer's digits being the last ones. The
number lies at depths from 10 % to 85 % of the text.
"""

import json
import pathlib
import random
import re
import sys

from tokenizers import Tokenizer

CITIES = ("Athens", "Berlin", "Boston", "Cairo", "Chicago", "Delhi", "Dublin", "Geneva", "Havana", "Lima", "London",
          "Madrid", "Milan", "Moscow", "Paris", "Prague", "Rome", "Sydney", "Tokyo", "Vienna")
DIGITS = 7  # of a number, a token each


def sentences_of(book):
    text = re.sub(r"\s+", " ", pathlib.Path(book).read_text(encoding="utf-8"))
    return [sentence for sentence in re.findall(r"[A-Z][^.!?]*[.!?]\"?", text) if len(sentence) < 250]


def document(tokenizer, sentences, length, depth, random_source):
    """The text, and its number."""
    def count(text):
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    city = random_source.choice(CITIES)
    number = str(random_source.randrange(10 ** (DIGITS - 1), 10 ** DIGITS))
    needle = f" The special magic number for {city} is {number}."
    question = f"\nWhat is the special magic number for {city}? The special magic number for {city} is "
    if count(question + number) != count(question) + DIGITS:
        sys.exit("recall_task: this tokenizer does not give every digit a token of its own")
    first, filler = random_source.randrange(len(sentences) // 2), []
    budget = length - count(needle + question + number)
    while count(" ".join(filler)) < budget - 100:  # a sentence has fewer tokens
        filler.append(sentences[first])
        first += 1
    while True:  # sentence by sentence, until the next would be too much
        filler.append(sentences[first])
        first += 1
        place = round(depth * len(filler))
        whole = " ".join(filler[:place]) + needle + " " + " ".join(filler[place:]) + question + number
        if count(whole) >= length:
            break
    start = 0  # then letter by letter off the beginning
    while count(whole[start:]) > length:
        start += 1
    if count(whole[start:]) != length:
        return None  # a letter less made two tokens less: another draw
    return {"text": whole[start:], "city": city, "number": number, "depth": depth}


def main():
    if len(sys.argv) != 5:
        sys.exit("wanted: recall_task.py MODEL BOOK LENGTH COUNT")
    model, book, length, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    tokenizer = Tokenizer.from_file(str(pathlib.Path(model) / "tokenizer.json"))
    sentences, random_source = sentences_of(book), random.Random(0)
    for i in range(count):
        depth = 0.1 + 0.75 * (i / (count - 1) if count > 1 else 0.5)
        made = None
        while made is None:
            made = document(tokenizer, sentences, length, depth, random_source)
        print(json.dumps(made, ensure_ascii=False))


if __name__ == "__main__":
    main()
