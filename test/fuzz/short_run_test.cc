// SPDX-License-Identifier: Apache-2.0
//
// The short run of a fuzz target, for every build and without clang: the committed corpus, and as
// many mutations of it as ALERTPIPE_FUZZ_RUNS says, the same ones each time. A failure prints the
// input in hex; ALERTPIPE_FUZZ_INPUT=FILE runs one input, as libFuzzer keeps them, alone.
//
// ALERTPIPE_FUZZ_CORPUS is the folder of the target's corpus. With ALERTPIPE_FUZZ_WRITE_SEEDS set,
// the seeds are written there.
#include <dirent.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "fuzz.h"
#include "runner/test_case.h"

namespace alertpipe::fuzz {
namespace {

constexpr std::size_t kInputBytesMax = 4096;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string CorpusFolder() {
  const char* folder = std::getenv("ALERTPIPE_FUZZ_CORPUS");
  return folder == nullptr ? "" : folder;
}

// In the order of their names, so that every run is the same.
std::vector<std::string> ReadCorpus() {
  std::vector<std::string> names;
  DIR* folder = ::opendir(CorpusFolder().c_str());
  if (folder == nullptr) {
    ADD_FAILURE() << "no corpus: ALERTPIPE_FUZZ_CORPUS is " << CorpusFolder();
    return {};
  }
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(folder);
  std::sort(names.begin(), names.end());
  std::vector<std::string> corpus;
  for (const std::string& name : names) corpus.push_back(ReadFile(CorpusFolder() + "/" + name));
  return corpus;
}

std::string Hex(const std::string& bytes) {
  std::string text;
  char digits[3];
  for (const char byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
    text += digits;
  }
  return text;
}

// What is wrong with an input, if anything.
std::optional<std::string> Try(const std::string& input) {
  try {
    RunOne(input);
  } catch (const std::exception& error) {
    return error.what();
  }
  return std::nullopt;
}

class Mutator {
 public:
  explicit Mutator(std::vector<std::string> corpus) : corpus_(std::move(corpus)) {}

  std::string Next() {
    std::string input = Any();
    for (std::size_t i = 1 + Pick(4); i > 0; --i) Mutate(&input);
    input.resize(std::min(input.size(), kInputBytesMax));
    return input;
  }

 private:
  std::size_t Pick(std::size_t n) { return random_() % n; }
  const std::string& Any() { return corpus_[Pick(corpus_.size())]; }
  char Byte() {
    static constexpr unsigned char kLimits[] = {0, 1, 2, 3, 4, 0x7f, 0x80, 0xf1, 0xfe, 0xff};
    return static_cast<char>(Pick(2) == 0 ? kLimits[Pick(std::size(kLimits))] : Pick(256));
  }

  void Mutate(std::string* input) {
    const std::size_t at = Pick(input->size() + 1);
    const std::size_t length = std::min(Pick(16) + 1, input->size() - at);
    switch (Pick(6)) {
      case 0:
        if (length > 0) (*input)[at] = Byte();
        return;
      case 1:
        if (length > 0) (*input)[at] = static_cast<char>((*input)[at] + (Pick(2) == 0 ? 1 : -1));
        return;
      case 2:
        input->insert(at, 1, Byte());
        return;
      case 3:
        input->erase(at, length);
        return;
      case 4:
        input->insert(Pick(input->size() + 1), input->substr(at, length));
        return;
      default: {
        const std::string& other = Any();
        const std::size_t from = Pick(other.size() + 1);
        input->insert(at, other.substr(from, Pick(64)));
      }
    }
  }

  std::vector<std::string> corpus_;
  std::mt19937 random_{1};
};

int Runs() {
  const char* runs = std::getenv("ALERTPIPE_FUZZ_RUNS");
  return runs == nullptr ? 1000 : std::atoi(runs);
}

TEST(ShortRun, CorpusHoldsTheSeeds) {
  if (std::getenv("ALERTPIPE_FUZZ_WRITE_SEEDS") != nullptr) {
    for (const Seed& seed : Seeds())
      std::ofstream(CorpusFolder() + "/seed_" + seed.name, std::ios::binary) << seed.bytes;
  }
  for (const Seed& seed : Seeds()) {
    EXPECT_EQ(Hex(ReadFile(CorpusFolder() + "/seed_" + seed.name)), Hex(seed.bytes)) << seed.name;
  }
}

TEST(ShortRun, CorpusIsGood) {
  const std::vector<std::string> corpus = ReadCorpus();
  EXPECT_GE(corpus.size(), Seeds().size());
  for (const std::string& input : corpus) {
    const std::optional<std::string> wrong = Try(input);
    ASSERT_FALSE(wrong) << *wrong << "\ninput " << Hex(input);
  }
}

TEST(ShortRun, MutationsAreGood) {
  Mutator mutator(ReadCorpus());
  for (int run = 0; run < Runs(); ++run) {
    const std::string input = mutator.Next();
    const std::optional<std::string> wrong = Try(input);
    ASSERT_FALSE(wrong) << "run " << run << ": " << *wrong << "\ninput " << Hex(input);
  }
}

TEST(ShortRun, OneInput) {
  const char* path = std::getenv("ALERTPIPE_FUZZ_INPUT");
  if (path == nullptr) return;
  const std::optional<std::string> wrong = Try(ReadFile(path));
  EXPECT_FALSE(wrong) << *wrong;
}

// A target that does not find a defect that was planted in its path proves nothing.
TEST(Canaries, AreFound) {
  const std::vector<std::string> corpus = ReadCorpus();
  EXPECT_FALSE(kCanaries.empty());
  for (std::size_t i = 0; i < kCanaries.size(); ++i) {
    planted = static_cast<int>(i) + 1;
    Mutator mutator(corpus);
    std::optional<std::string> found;
    int run = 0;
    for (; run < Runs() && !found; ++run) found = Try(mutator.Next());
    planted = 0;
    EXPECT_TRUE(found) << kCanaries[i] << ": not found in " << run << " runs";
    if (found) std::printf("found after %d runs: %s\n", run, kCanaries[i]);
  }
}

}  // namespace
}  // namespace alertpipe::fuzz
