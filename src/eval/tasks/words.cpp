#include <array>
#include <string_view>

#include "eval/tasks/shipped.h"
#include "text/unicode.h"

namespace motet {
namespace {

constexpr std::array<std::string_view, 96> kAdjectives{
    "amber",  "ancient", "bitter", "bold",   "brave",  "brief",   "bright", "broad",  "busy",
    "calm",   "careful", "cheap",  "chilly", "clever", "cold",    "common", "cool",   "crisp",
    "dark",   "dear",    "deep",   "dense",  "dim",    "dry",     "dusty",  "eager",  "early",
    "easy",   "empty",   "even",   "faint",  "fair",   "famous",  "fast",   "fierce", "final",
    "firm",   "flat",    "fond",   "fresh",  "gentle", "giant",   "glad",   "golden", "grand",
    "great",  "green",   "happy",  "hard",   "hasty",  "heavy",   "hidden", "high",   "hollow",
    "honest", "humble",  "icy",    "idle",   "jolly",  "keen",    "kind",   "large",  "lazy",
    "light",  "little",  "lively", "lonely", "loud",   "lucky",   "mellow", "merry",  "mild",
    "narrow", "neat",    "noble",  "odd",    "open",   "patient", "plain",  "polite", "proud",
    "quick",  "quiet",   "rare",   "rough",  "round",  "secret",  "sharp",  "shy",    "silent",
    "simple", "steady",  "sudden", "tall",   "tender", "windy"};

constexpr std::array<std::string_view, 160> kNouns{
    "acorn",   "anchor",  "apple",    "arrow",   "ash",     "attic",   "badge",   "barley",
    "barn",    "basket",  "beacon",   "beetle",  "bell",    "bench",   "berry",   "blanket",
    "boat",    "bottle",  "branch",   "brick",   "bridge",  "broom",   "brush",   "bucket",
    "butter",  "button",  "cabin",    "candle",  "canyon",  "carpet",  "cart",    "castle",
    "cedar",   "cellar",  "chain",    "chair",   "cherry",  "chimney", "clay",    "cliff",
    "clock",   "cloud",   "clover",   "coat",    "comet",   "copper",  "coral",   "corner",
    "cotton",  "cradle",  "creek",    "crown",   "curtain", "daisy",   "desert",  "dial",
    "ditch",   "dove",    "drawer",   "drum",    "eagle",   "ember",   "engine",  "falcon",
    "feather", "fence",   "fern",     "ferry",   "fiddle",  "field",   "flame",   "flute",
    "forest",  "fork",    "fountain", "fox",     "garden",  "gate",    "glacier", "glove",
    "grain",   "grape",   "gravel",   "hammer",  "harbor",  "harvest", "hazel",   "hedge",
    "helmet",  "heron",   "hill",     "honey",   "hook",    "horn",    "island",  "ivory",
    "jacket",  "jar",     "jewel",    "kettle",  "kite",    "ladder",  "lagoon",  "lake",
    "lamp",    "lantern", "leaf",     "lemon",   "library", "linen",   "lizard",  "lock",
    "maple",   "marble",  "market",   "meadow",  "mill",    "mirror",  "mortar",  "mountain",
    "needle",  "nest",    "oak",      "oar",     "ocean",   "orchard", "otter",   "owl",
    "paddle",  "palace",  "path",     "pebble",  "pencil",  "pepper",  "piano",   "pillow",
    "pine",    "planet",  "plough",   "pocket",  "pond",    "prairie", "quarry",  "quilt",
    "rabbit",  "raven",   "ribbon",   "river",   "rope",    "saddle",  "sail",    "shadow",
    "spoon",   "stone",   "temple",   "thimble", "tower",   "valley",  "violin",  "willow"};

constexpr std::array<std::string_view, 12> kNoise{
    "The path goes on between two fields.", "A cloud stands over the hill.",
    "Someone has left the gate open.",      "The clock in the hall is slow.",
    "It rained a little in the morning.",   "The water in the well is cold.",
    "A cart goes down to the market.",      "The windows of the mill are dark.",
    "Two birds sit on the fence.",          "The road turns left behind the barn.",
    "There is bread on the table.",         "The wind comes from the sea."};

}  // namespace

std::vector<std::string> draw_pairs(ItemRandom& random, int64_t count) {
  static_assert(kPairs == kAdjectives.size() * kNouns.size());
  require(count <= kPairs, "motet: ", count, " pairs of words are wanted, there are ", kPairs);
  std::vector<std::string> pairs;
  std::set<int64_t> drawn;
  while (static_cast<int64_t>(pairs.size()) < count) {
    const auto pair = random.below(kPairs);
    if (drawn.insert(pair).second) {
      pairs.push_back(std::string(kAdjectives[pair / kNouns.size()]) + "-" +
                      std::string(kNouns[pair % kNouns.size()]));
    }
  }
  return pairs;
}

std::vector<std::string> draw_words(ItemRandom& random, int64_t count) {
  std::vector<std::string> words(kAdjectives.begin(), kAdjectives.end());
  words.insert(words.end(), kNouns.begin(), kNouns.end());
  random.shuffle(words);
  const auto known = static_cast<int64_t>(words.size());
  if (count > known) {
    const auto more = draw_pairs(random, count - known);
    words.insert(words.end(), more.begin(), more.end());
  }
  words.resize(count);
  return words;
}

std::string noise_line(ItemRandom& random) {
  return std::string(kNoise[random.below(kNoise.size())]);
}

std::vector<std::string> sentences_of(const std::string& text) {
  std::vector<std::string> sentences;
  std::size_t first = 0;
  for (auto stop = text.find('.'); stop != std::string::npos; stop = text.find('.', stop + 1)) {
    sentences.push_back(text.substr(first, stop + 1 - first));
    first = stop + 1;
  }
  const auto rest = text.substr(first);
  if (text::leading_space(rest) < rest.size()) {
    sentences.push_back(rest);
  } else if (!sentences.empty()) {
    sentences.back() += rest;
  }
  return sentences;
}

}  // namespace motet
