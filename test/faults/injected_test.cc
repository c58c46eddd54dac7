// SPDX-License-Identifier: Apache-2.0
//
// Every scenario, with every call that it makes failing: the Nth one for all N, in the master and
// in its workers, once and for good, with each error that the manual names. One process for each
// run. ALERTPIPE_FAULTS=all asks for everything; without it each call fails with one of its errors,
// which is what the suite has the time for.
//
// One run again: ALERTPIPE_FAULT='ROLE CALL-NUMBER NTH ERRNO once|good' as a failure prints it.
// ALERTPIPE_FAULTS_TABLE names a file that gets a line for each scenario, call and side.
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <set>
#include <string>

#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>

#include "faults/stage.h"
#include "runner/holdings.h"
#include "runner/test_case.h"

namespace alertpipe::faults {
namespace {

// A scenario makes fewer calls of one kind than this; more are a scenario that spins.
constexpr int kCallsMax = 400;
// Growth in every run is a leak, in the first ones it is a cache.
constexpr int kRunsMax = 4;
constexpr int kCountingRuns = 3;

bool Everything() {
  const char* const wanted = std::getenv("ALERTPIPE_FAULTS");
  return wanted != nullptr && std::strcmp(wanted, "all") == 0;
}

// A page that the runs share with this process.
class SharedLedger {
 public:
  SharedLedger()
      : memory_(mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                     -1, 0)) {}
  ~SharedLedger() { munmap(memory_, sizeof(Ledger)); }
  SharedLedger(const SharedLedger&) = delete;
  SharedLedger& operator=(const SharedLedger&) = delete;

  void Clear() { std::memset(memory_, 0, sizeof(Ledger)); }
  Ledger* get() const { return static_cast<Ledger*>(memory_); }
  Ledger* operator->() const { return get(); }

 private:
  void* memory_;
};

std::string Describe(const Fault& fault) {
  if (fault.role < 0) return "no fault";
  return absl::StrCat(
      ErrorsOf(fault.site).name, " number ", fault.nth, " of ",
      fault.role == 0 ? std::string("the master") : absl::StrCat("child ", fault.role), ", ",
      std::strerror(fault.error), fault.for_good ? ", for good" : ", once", "; ALERTPIPE_FAULT='",
      fault.role, " ", static_cast<int>(fault.site), " ", fault.nth, " ", fault.error,
      fault.for_good ? " good'" : " once'");
}

// Plays scenarios, each time in a process of its own.
class Theatre {
 public:
  Theatre() {
    // Workers of a run that went wrong come here.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    children_ = runner::ReadChildren();
  }

  // False if the call to fail was not made. What came of it is in the ledger.
  bool Play(const Scenario& scenario, const Fault& fault) {
    ledger_.Clear();
    const pid_t pid = fork();
    if (pid == 0) PlayAndExit(scenario, fault);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      ledger_->wrong.Add(absl::StrCat("the master ended with status ", status));
      for (const std::string& line : runner::TakeNewChildren(children_)) ledger_->wrong.Add(line);
    }
    return ledger_->tally.failed > 0;
  }

  Ledger& ledger() { return *ledger_.get(); }

 private:
  [[noreturn]] void PlayAndExit(const Scenario& scenario, const Fault& fault) {
    std::int64_t heap[kRunsMax];
    std::int64_t mapped[kRunsMax];
    for (int run = 0; run < kRunsMax; ++run) {
      ledger_.Clear();
      mapped[run] = runner::MappingBytes();
      heap[run] = runner::HeapBytes();
      faults::Play(scenario, fault, ledger_.get());
      heap[run] = runner::HeapBytes() - heap[run];
      mapped[run] = runner::MappingBytes() - mapped[run] - ledger_->tally.kept[0];
      if (ledger_->wrong.size() != 0) _exit(0);
      if (!measurable_ || (heap[run] <= 0 && mapped[run] <= 0)) _exit(0);
    }
    std::string text = "heap and mappings grew in each run:";
    for (int run = 0; run < kRunsMax; ++run)
      absl::StrAppend(&text, " ", heap[run], "/", mapped[run]);
    ledger_->wrong.Add(text);
    _exit(0);
  }

  // Not under sanitizers and valgrind.
  const bool measurable_ = runner::IsHeapMeasurable();
  SharedLedger ledger_;
  std::set<pid_t> children_;
};

class Runs : public testing::TestWithParam<std::size_t> {
 protected:
  Runs() : scenario_(Scenarios()[GetParam()]) {}

  // What went wrong is a failure. False if the call to fail was not made.
  bool Run(const Fault& fault) {
    const bool failed = theatre_.Play(scenario_, fault);
    const Ledger& ledger = theatre_.ledger();
    if (ledger.wrong.size() == 0) return failed;
    ++failures_;
    std::string text;
    for (int line = 0; line < ledger.wrong.size(); ++line) {
      absl::StrAppend(&text, "  wrong in ", ledger.wrong.lines[line].role, ": ",
                      ledger.wrong.lines[line].text, "\n");
    }
    for (int line = 0; line < ledger.said.size(); ++line) {
      absl::StrAppend(&text, "  said by ", ledger.said.lines[line].role, ": ",
                      ledger.said.lines[line].text, "\n");
    }
    ADD_FAILURE() << scenario_.name << ": " << Describe(fault) << "\n" << text;
    return failed;
  }

  // How often each process makes each call, at most.
  void Count() {
    for (int run = 0; run < kCountingRuns; ++run) {
      Run(Fault());
      const Ledger& ledger = theatre_.ledger();
      EXPECT_EQ(ledger.refusals, 0) << ledger.said.lines[0].text;
      for (int role = 0; role < kRoles; ++role) {
        for (int site = 0; site < kSites; ++site) {
          int& most = counts_[role][site];
          most = std::max(most, ledger.tally.calls[role][site].load());
        }
      }
    }
  }

  void FailEach(int role, Site site) {
    const std::vector<int>& errors = ErrorsOf(site).errors;
    const int count = counts_[role][static_cast<int>(site)];
    EXPECT_LT(count, kCallsMax) << ErrorsOf(site).name;
    const std::size_t kinds =
        Everything() ? errors.size() : std::min<std::size_t>(errors.size(), 1);
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      for (const bool for_good : {false, true}) {
        for (int nth = 1; nth <= count && failures_ < 20; ++nth) {
          const bool failed = Run({site, role, nth, errors[kind], for_good});
          (failed ? cases_ : missed_)[{static_cast<int>(site), role != 0}]++;
        }
      }
    }
  }

  void Print() {
    const char* const path = std::getenv("ALERTPIPE_FAULTS_TABLE");
    std::FILE* const file = path != nullptr ? std::fopen(path, "ae") : nullptr;
    int total = 0;
    for (const auto& [where, cases] : cases_) {
      total += cases;
      const std::string line =
          absl::StrCat(scenario_.name, "\t", ErrorsOf(static_cast<Site>(where.first)).name, "\t",
                       where.second ? "worker" : "master", "\t", cases, "\t", missed_[where], "\n");
      std::fputs(line.c_str(), file != nullptr ? file : stdout);
    }
    if (file != nullptr) std::fclose(file);
    EXPECT_GT(total, 0) << "no call of this scenario was made to fail";
    std::printf("%s: %d runs\n", scenario_.name, total);
  }

  const Scenario& scenario_;
  Theatre theatre_;
  int failures_ = 0;
  int counts_[kRoles][kSites] = {};
  // By site and side: runs in which the call failed, and in which it was not made.
  std::map<std::pair<int, bool>, int> cases_, missed_;
};

TEST_P(Runs, WithEachCallFailing) {
  if (const char* const one = std::getenv("ALERTPIPE_FAULT")) {
    Fault fault;
    int site = 0;
    char mode[8] = {};
    ASSERT_EQ(
        std::sscanf(one, "%d %d %d %d %7s", &fault.role, &site, &fault.nth, &fault.error, mode), 5);
    fault.site = static_cast<Site>(site);
    fault.for_good = std::strcmp(mode, "good") == 0;
    EXPECT_TRUE(Run(fault)) << "the call was not made";
    return;
  }
  Count();
  ASSERT_FALSE(HasFailure());
  for (int role = 0; role < kRoles; ++role) {
    for (int site = 0; site < kSites; ++site) FailEach(role, static_cast<Site>(site));
  }
  Print();
}
ALERTPIPE_TIME_LIMIT(Runs, WithEachCallFailing, 1200);
ALERTPIPE_ALLOW(Runs, WithEachCallFailing, kHeap, "each run is judged in its own process");
ALERTPIPE_ALLOW(Runs, WithEachCallFailing, kMappings, "each run is judged in its own process");

// What must be caught, else nothing above proves anything.
class Canaries : public Runs {
 protected:
  // How many of the runs in which the call was harmed were found wrong.
  void ExpectCaught(Site site, Harm harm, int role, const char* as) {
    for (int nth = 1; nth <= 2; ++nth) {
      Fault fault{site, role, nth, EIO, false};
      fault.harm = harm;
      ASSERT_TRUE(theatre_.Play(scenario_, fault)) << "call " << nth << " was not made";
      EXPECT_GT(theatre_.ledger().wrong.size(), 0) << as << ", call " << nth;
    }
  }
};

TEST_P(Canaries, AreCaught) {
  ExpectCaught(Site::kPwritev2, Harm::kForgotten, 0, "an alert that the master lost");
  ExpectCaught(Site::kPwritev2, Harm::kForgotten, 1, "an alert that a worker lost");
  ExpectCaught(Site::kPwritev2, Harm::kTwice, 0, "an alert that came twice");
  ExpectCaught(Site::kClose, Harm::kForgotten, 0, "a descriptor that was left open");
  if (runner::IsHeapMeasurable())
    ExpectCaught(Site::kMunmap, Harm::kForgotten, 0, "a mapping that was left");
}
ALERTPIPE_TIME_LIMIT(Canaries, AreCaught, 600);
ALERTPIPE_ALLOW(Canaries, AreCaught, kHeap, "each run is judged in its own process");
ALERTPIPE_ALLOW(Canaries, AreCaught, kMappings, "each run is judged in its own process");

// Scenario 5 sends small alerts both ways.
INSTANTIATE_TEST_SUITE_P(Faults, Canaries, testing::Values(std::size_t{5}));

// A call that no scenario makes would be failed nowhere.
TEST(Sites, AreAllReached) {
  Theatre theatre;
  int calls[kSites] = {};
  for (const Scenario& scenario : Scenarios()) {
    theatre.Play(scenario, Fault());
    for (int role = 0; role < kRoles; ++role) {
      for (int site = 0; site < kSites; ++site)
        calls[site] += theatre.ledger().tally.calls[role][site];
    }
  }
  for (int site = 0; site < kSites; ++site)
    EXPECT_GT(calls[site], 0) << ErrorsOf(static_cast<Site>(site)).name;
}

INSTANTIATE_TEST_SUITE_P(Faults, Runs, testing::Range(std::size_t{0}, Scenarios().size()),
                         [](const testing::TestParamInfo<std::size_t>& at) {
                           return std::string(Scenarios()[at.param].name);
                         });

}  // namespace
}  // namespace alertpipe::faults
