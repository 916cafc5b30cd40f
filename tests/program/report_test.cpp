// motet-report, run as a user runs it.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "motet/eval/compare.h"
#include "motet/model/weights.h"
#include "motet/report/json.h"
#include "program/program.h"
#include "temporary.h"

namespace motet {
namespace {

class Report : public testing::Test {
 protected:
  Report() {
    const auto model = load_model(std::filesystem::path(MOTET_GOLDEN) / "llama_default");
    motet::CompareRun run;
    run.provenance.command = {"motet-compare"};
    run.provenance.model.name = "tiny";
    run.provenance.data.name = "text";
    run.options.length = 36;
    run.options.scored = 8;
    run.options.segments = 1;
    run.options.pieces = {1, 3};
    run.options.prefix = {1, 2};
    std::vector<int64_t> tokens;
    for (int64_t i = 0; i < 36; ++i) tokens.push_back((3 + 7 * i) % 40);
    run.segment_rows =
        compare_segment(*model, tokens, run.options, plan_compare(model->config(), run.options), 0);
    for (const auto* name : {"a", "b"}) {
      std::filesystem::create_directory(directory_ / name);
      save_run(run, std::filesystem::path(directory_ / name) / "run.json");
    }
  }

  Outcome run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), MOTET_REPORT);
    return Process(directory_.path(), arguments).wait();
  }

  TemporaryDirectory directory_;
  std::string a_ = directory_ / "a", b_ = directory_ / "b", page_ = directory_ / "page";
};

TEST_F(Report, WritesAPageAndItsPictures) {
  const auto outcome = run({a_});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, a_ + "/index.html\n");
  EXPECT_NE(read_file(a_ + "/index.html").find("tiny reads text"), std::string::npos);
  for (const auto* name : {"perplexity-entropy", "entropy-maps", "entropy-parts",
                           "entropy-along-the-text", "masses"}) {
    EXPECT_EQ(read_file(a_ + "/pictures/" + name + ".svg").substr(0, 4), "<svg") << name;
    const auto png = read_file(a_ + "/pictures/" + name + ".png");
    EXPECT_EQ(png.substr(1, 3), "PNG") << name;
    EXPECT_GT(png.size(), 4000u) << name;  // more than an empty sheet
  }
}

TEST_F(Report, PutsSeveralRunsOnOnePage) {
  const auto refused = run({a_, b_});
  EXPECT_EQ(refused.code, 2);
  EXPECT_EQ(refused.err,
            "motet-report: several runs on one page need a folder of their own: --out DIR\n"
            "Run it with --help for its options.\n");
  const auto outcome = run({a_, b_ + "/run.json", "--out", page_});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(read_file(page_ + "/index.html").find("2 runs compared"), std::string::npos);
}

TEST_F(Report, PrintsTables) {
  const auto markdown = run({a_, "--format", "markdown"});
  EXPECT_EQ(markdown.code, 0) << markdown.err;
  EXPECT_EQ(std::count(markdown.out.begin(), markdown.out.end(), '\n'), 2 + 5) << markdown.out;
  EXPECT_EQ(run({a_, "--format", "latex"}).out.substr(0, 15), "\\begin{tabular}");
  EXPECT_EQ(run({a_, "--format", "csv"}).out.substr(0, 16), "model,data,task,");
  EXPECT_FALSE(std::filesystem::exists(a_ + "/index.html"));
}

TEST_F(Report, ErrorsNameTheFile) {
  const auto missing = run({directory_ / "c"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_NE(missing.err.find(directory_ / "c"), std::string::npos) << missing.err;
  write_file(b_ + "/run.json", "{}");
  const auto damaged = run({b_});
  EXPECT_EQ(damaged.code, 1);
  EXPECT_EQ(damaged.err, "motet-report: " + b_ + "/run.json: is not a run of motet\n");
  const auto damage = [&](const std::function<void(nlohmann::ordered_json&)>& change) {
    auto run_json = nlohmann::ordered_json::parse(read_file(a_ + "/run.json"));
    change(run_json);
    write_file(b_ + "/run.json", run_json.dump());
    return run({b_, "--format", "csv"}).err;
  };
  const auto words = [&](const std::string& what) {
    return "motet-report: " + b_ + "/run.json: is damaged: " + what + "; make the run again\n";
  };
  EXPECT_EQ(damage([](auto& json) { json["revision"] = nullptr; }),
            words("revision is null, which is of another kind than is written there"));
  EXPECT_EQ(damage([](auto& json) { json["model"] = 1.5; }), words("model.name is missing"));
  EXPECT_EQ(damage([](auto& json) { json["segment_rows"][1]["entropy_heads"] = true; }),
            words("segment_rows[1].entropy_heads is true; a list is wanted"));
  EXPECT_EQ(damage([](auto& json) { json["segment_rows"][0]["entropy_text"][0].erase(2); }),
            words("segment_rows[0].entropy_text[0][2] is missing"));
  EXPECT_EQ(damage([](auto& json) { json["segment_rows"][0].erase("mode"); }),
            words("segment_rows[0].mode is missing"));
  write_file(directory_ / "file", "");
  const auto no_folder = run({a_, "--out", directory_ / "file"});
  EXPECT_EQ(no_folder.code, 1);
  EXPECT_NE(no_folder.err.find("cannot be made"), std::string::npos) << no_folder.err;
}

}  // namespace
}  // namespace motet
