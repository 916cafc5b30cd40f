#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "motet/report/html.h"
#include "motet/report/picture.h"
#include "motet/report/table.h"
#include "temporary.h"

namespace motet {
namespace {

CompareRow row(const std::string& mode, int64_t pieces, double nll, double entropy) {
  CompareRow row;
  row.mode = mode;
  row.reading = mode == "selective" ? "select(K=1, r=5)" : "all";
  row.selected = mode == "selective" ? 1 : 0;
  row.pieces = pieces;
  row.prefix_tokens = mode == "sink" ? 3 : 0;
  row.positions = "spread";
  row.tokens = 4;
  row.segment = 0;
  row.nll = nll;
  row.nll_stderr = 0.5;
  row.perplexity = std::exp(nll);
  row.delta_nll = nll - 2;
  row.delta_stderr = mode == "full" ? 0 : 0.125;
  row.kl = 0.25;
  row.same_top1 = 0.75;
  row.entropy_pce = row.entropy_tok = entropy;
  row.entropy_between = entropy / 4;
  row.entropy_within = 3 * entropy / 4;
  row.mass_prefix = row.prefix_tokens > 0 ? 0.2 : 0;
  row.mass_own = 0.5;
  row.mass_top_piece = 0.25;
  row.entropy_heads = {{entropy, entropy + 1, entropy - 1}, {1.5, 2.5, 0.5}};
  row.entropy_text = {{0, 5, 1}, {5, 5, entropy}, {10, 5, 1}, {15, 1, entropy}, {16, 4, 3}};
  row.cost_ratio = 1.0 / static_cast<double>(pieces);
  return row;
}

CompareRun run(const std::string& text = "a & b.txt") {
  CompareRun run;
  run.provenance.command = {"motet-compare", "--prefix", "<s>"};
  run.provenance.version = "1";
  run.provenance.revision = "abc";
  run.provenance.model = {"tiny", "hash"};
  run.provenance.data = {text, "hash"};
  run.options.length = 21;
  run.options.scored = 4;
  run.options.segments = 1;
  run.options.pieces = {1, 2};
  run.provenance.dtype = "float32";
  run.segment_rows = {row("full", 1, 2, 2), row("parallel", 2, 2.5, 3), row("sink", 2, 2.25, 2.5),
                      row("selective", 2, 2.375, 1.5)};
  return run;
}

int64_t count(const std::string& text, const std::string& what) {
  int64_t times = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++times;
  return times;
}

const Picture& named(const std::vector<Picture>& pictures, const std::string& name) {
  return *std::find_if(pictures.begin(), pictures.end(),
                       [&](const Picture& picture) { return picture.name == name; });
}

TEST(Pictures, SayTheValuesOfEveryMark) {
  const auto pictures = pictures_of({run()});
  ASSERT_EQ(pictures.size(), 5u);
  const auto& degree = named(pictures, "perplexity-entropy").svg;
  EXPECT_EQ(count(degree, "<title>"), 2 * 4);  // two panels, four rows
  EXPECT_EQ(count(degree,
                  "<title>parallel, P = 2: perplexity 12.18, nll +0.5000 ± 0.1250 nats "
                  "against full</title>"),
            1);
  EXPECT_EQ(count(degree, "<title>sink, P = 2: attention entropy (nats) 2.5</title>"), 1);
  const auto& maps = named(pictures, "entropy-maps").svg;
  EXPECT_EQ(count(maps, "<title>"), (4 + 3) * 2 * 3);  // modes and changes, layers, heads
  EXPECT_EQ(count(maps, "<title>parallel, P = 2, layer 0, head 1: 4.000 nats</title>"), 1);
  EXPECT_EQ(count(maps, "<title>selective, P = 2 - full, layer 0, head 2: -0.500 nats</title>"), 1);
  EXPECT_EQ(count(maps, "pointer-events"), 3);  // heads of selective whose entropy falls
  const auto& parts = named(pictures, "entropy-parts").svg;
  EXPECT_EQ(count(parts, "<title>"), 2 * 4);
  EXPECT_EQ(count(parts, "<title>parallel, P = 2: between them 0.7500</title>"), 1);
  const auto& masses = named(pictures, "masses").svg;
  EXPECT_EQ(count(masses, "<title>sink, P = 2: other pieces 0.0500</title>"), 1);
  EXPECT_EQ(count(masses, "<title>sink, P = 2: prefix 0.2000</title>"), 1);
  const auto& text = named(pictures, "entropy-along-the-text").svg;
  EXPECT_EQ(count(text, "<title>parallel, P = 2, tokens 5 to 9: 3.000 nats</title>"), 1);
  EXPECT_EQ(count(text, "context, 2 pieces"), 1);
}

/// Lines of a mode with pieces break at the edges of the pieces: 0..7, 8..15, query.
TEST(Pictures, RestartTheLineAlongTheTextInEveryPiece) {
  auto one = run();
  one.segment_rows = {one.segment_rows[1]};
  one.segment_rows[0].entropy_text = {{0, 4, 1}, {4, 4, 2}, {8, 4, 1}, {12, 4, 2}, {16, 5, 3}};
  const auto svg = named(pictures_of({one}), "entropy-along-the-text").svg;
  EXPECT_EQ(count(svg, "<polyline"), 1 + 3);  // the legend's, and piece, piece, query
}

TEST(Pictures, OfSeveralRunsShareScalesAndNameEach) {
  const auto pictures = pictures_of({run("one.txt"), run("two.txt")});
  for (const auto& picture : pictures) {
    EXPECT_EQ(count(picture.svg, "tiny on one.txt"), 1) << picture.name;
    EXPECT_EQ(count(picture.svg, "tiny on two.txt"), 1) << picture.name;
  }
}

TEST(Pictures, WithoutFullShowNoChange) {
  auto left_out = run();
  left_out.segment_rows.erase(left_out.segment_rows.begin());
  for (auto& row : left_out.segment_rows) {
    row.delta_nll.reset();
    row.delta_stderr.reset();
  }
  const auto pictures = pictures_of({left_out});
  EXPECT_EQ(count(named(pictures, "entropy-maps").svg, "<title>"), 3 * 2 * 3);
  EXPECT_EQ(count(named(pictures, "perplexity-entropy").svg, "against full"), 0);
}

TEST(Pictures, ErrorsNameTheRun) {
  EXPECT_EQ(message([] { pictures_of({}); }), "motet::pictures_of: no run");
  auto empty = run("novel.txt");
  empty.segment_rows.clear();
  EXPECT_EQ(message([&] { pictures_of({empty}); }),
            "motet::pictures_of: the run on novel.txt has no segment yet; resume it first");
}

TEST(Html, IsOnePageThatNeedsNothingElse) {
  const auto page = html_of({run()});
  EXPECT_EQ(count(page, "<svg"), 5);
  EXPECT_EQ(count(page, "tiny reads a &amp; b.txt"), 2);
  EXPECT_EQ(count(page, "motet-compare --prefix &lt;s&gt;"), 1);
  EXPECT_EQ(count(page, "<script"), 0);
  const auto without_names = std::regex_replace(page, std::regex("xmlns=\"[^\"]*\""), "");
  EXPECT_EQ(count(without_names, "http"), 0);
  EXPECT_EQ(count(without_names, "src="), 0);
}

TEST(Pictures, ASetWithoutKeysIsNoPiece) {
  auto one = run();
  EXPECT_EQ(count(named(pictures_of({one}), "masses").svg, "the set without keys"), 0);
  one.segment_rows[1].mass_null = 0.2;
  const auto pictures = pictures_of({one});
  const auto& masses = named(pictures, "masses").svg;
  EXPECT_EQ(count(masses, "<title>parallel, P = 2: other pieces 0.0500</title>"), 1);
  EXPECT_EQ(count(masses, "<title>parallel, P = 2: the set without keys 0.2000</title>"), 1);
}

TEST(Tables, SayNamesInLatexAsTheyAre) {
  const auto text = latex_of({run("a$b~c^d\\{e}<f"), run("other")});
  EXPECT_EQ(count(text,
                  "a\\$b\\textasciitilde{}c\\textasciicircum{}d\\textbackslash{}\\{e\\}"
                  "\\textless{}f"),
            4);
}

TEST(Tables, AreWrittenForPapers) {
  auto two = run();
  two.segment_rows = {two.segment_rows[0], two.segment_rows[2]};
  EXPECT_EQ(
      markdown_of({two}),
      "| mode | P | nll | ppl | Δnll | ± | KL | entropy | between | within | prefix | own | "
      "cost |\n"
      "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
      "| full | 1 | 2.000 | 7.39 | +0.000 | 0.000 | 0.250 | 2.000 | 0.500 | 1.500 | 0.00 | 0.50 "
      "| 1.000 |\n"
      "| sink | 2 | 2.250 | 9.49 | +0.250 | 0.125 | 0.250 | 2.500 | 0.625 | 1.875 | 0.20 | 0.50 "
      "| 0.500 |\n");
  EXPECT_EQ(
      latex_of({two, two}),
      "\\begin{tabular}{llrrrrrrrrrrrr}\n\\toprule\n"
      "run & mode & P & nll & ppl & $\\Delta$nll & $\\pm$ & KL & entropy & between & within & "
      "prefix & own & cost \\\\\n\\midrule\n"
      "tiny, a \\& b.txt (run 1) & full & 1 & 2.000 & 7.39 & +0.000 & 0.000 & 0.250 & 2.000 & "
      "0.500 & "
      "1.500 & 0.00 & 0.50 & 1.000 \\\\\n"
      "tiny, a \\& b.txt (run 1) & sink & 2 & 2.250 & 9.49 & +0.250 & 0.125 & 0.250 & 2.500 & "
      "0.625 & "
      "1.875 & 0.20 & 0.50 & 0.500 \\\\\n"
      "tiny, a \\& b.txt (run 2) & full & 1 & 2.000 & 7.39 & +0.000 & 0.000 & 0.250 & 2.000 & "
      "0.500 & "
      "1.500 & 0.00 & 0.50 & 1.000 \\\\\n"
      "tiny, a \\& b.txt (run 2) & sink & 2 & 2.250 & 9.49 & +0.250 & 0.125 & 0.250 & 2.500 & "
      "0.625 & "
      "1.875 & 0.20 & 0.50 & 0.500 \\\\\n"
      "\\bottomrule\n\\end{tabular}\n");
  const auto csv = csv_of({run("a, b")});
  EXPECT_EQ(count(csv, "\n"), 1 + 4);
  EXPECT_EQ(csv.substr(0, csv.find(",positions")),
            "model,data,task,mode,reading,pieces,prefix_tokens,selected");
  EXPECT_EQ(count(csv, "\ntiny,\"a, b\",compare,sink,all,2,3,0,spread,1,4,2.25,"), 1) << csv;
  EXPECT_EQ(count(csv, ",\"select(K=1, r=5)\","), 1) << csv;
}

TEST(HeatMap, ShadesHeadsByTheirEntropy) {
  auto one = run();
  one.segment_rows.resize(2);
  one.segment_rows[0].entropy_heads = {{0, 1}, {2, 5}};
  one.segment_rows[1].entropy_heads = {{5, 5}, {0, 0}};
  EXPECT_EQ(heat_map_of(one),
            "Entropy of each head, layers to the right, heads downwards: ' ' 0 to '█' 5.0 nats\n"
            "full, P = 1  parallel, P = 2  \n"
            "| ▒|  |█ |  \n"
            "|░█|  |█ |  \n");
}

}  // namespace
}  // namespace motet
