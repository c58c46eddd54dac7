// SPDX-License-Identifier: Apache-2.0
//
// Each test runs cases of the victim executable under the runner, in a process of its own, and
// expects the exact verdict, in the XML as well as on the console.
#include <gtest/gtest.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <pugixml.hpp>
#include <string>
#include <vector>

#include "runner/test_case.h"

namespace {

#if defined(__has_feature)
#define HAS_FEATURE(feature) __has_feature(feature)
#else
#define HAS_FEATURE(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

struct VictimRun {
  int exit_code = -1;
  std::string console;
  pugi::xml_document report;

  bool Shows(const std::string& text) const { return console.find(text) != std::string::npos; }
  size_t Count(const std::string& text) const {
    size_t count = 0;
    for (size_t at = console.find(text); at != std::string::npos; at = console.find(text, at + 1)) {
      ++count;
    }
    return count;
  }
};

// The begin and end of the first match of a POSIX extended expression and of its first group.
struct Match {
  bool found = false;
  regmatch_t places[2] = {};
};

// POSIX's expressions, since gcc 12 warns wrongly about std::regex under AddressSanitizer.
Match Search(const char* text, const std::string& pattern) {
  regex_t expression;
  Match match;
  if (regcomp(&expression, pattern.c_str(), REG_EXTENDED) != 0) {
    ADD_FAILURE() << "wrong pattern " << pattern;
    return match;
  }
  match.found = regexec(&expression, text, 2, match.places, 0) == 0;
  regfree(&expression);
  return match;
}

class RunnerTest : public testing::Test {
 protected:
  RunnerTest() {
    std::string folder = testing::TempDir() + "/runner_test_XXXXXX";
    if (mkdtemp(folder.data()) != nullptr) folder_ = folder;
  }
  ~RunnerTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // `environment` holds NAME=value words. What steers the runner of this test stays away from the
  // victim.
  void RunVictim(const std::string& flags, const std::string& environment = "",
                 const std::string& executable = "runner_victim") {
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string command =
        "env -u ALERTPIPE_DIRECT -u ALERTPIPE_REPEAT -u ALERTPIPE_JOBS -u ALERTPIPE_VERBOSE " +
        environment + " TMPDIR='" + folder_ + "' '" + (self.parent_path() / executable).string() +
        "' " + flags + " '--gtest_output=xml:" + ReportPath() + "' 2>&1";
    FILE* const output = popen(command.c_str(), "re");
    ASSERT_NE(output, nullptr);
    char buffer[4096];
    run_.console.clear();
    for (size_t length; (length = fread(buffer, 1, sizeof(buffer), output)) > 0;) {
      run_.console.append(buffer, length);
    }
    const int status = pclose(output);
    run_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    run_.report.load_file(ReportPath().c_str());
  }

  // Runs one case that must fail; returns the messages of its failures.
  std::vector<std::string> FailuresOf(const std::string& name,
                                      const std::string& environment = "") {
    RunVictim("--gtest_filter=" + name, environment);
    EXPECT_EQ(run_.exit_code, 1) << run_.console;
    EXPECT_TRUE(run_.Shows("[  FAILED  ] " + name + " (")) << run_.console;
    const pugi::xml_node root = run_.report.child("testsuites");
    EXPECT_STREQ(root.attribute("tests").value(), "1");
    EXPECT_STREQ(root.attribute("failures").value(), "1");
    std::vector<std::string> messages;
    for (const pugi::xpath_node& failure : root.select_nodes("//testcase/failure")) {
      messages.emplace_back(failure.node().attribute("message").value());
    }
    return messages;
  }

  // Expects exactly these failures, in order, each matching its pattern as a whole.
  void ExpectFailures(const std::string& name, const std::vector<std::string>& patterns) {
    const std::vector<std::string> messages = FailuresOf(name);
    ASSERT_EQ(messages.size(), patterns.size()) << run_.console;
    for (size_t i = 0; i < patterns.size(); ++i) {
      EXPECT_TRUE(Search(messages[i].c_str(), "^(" + patterns[i] + ")$").found) << messages[i];
    }
  }

  // The pids in the failures of the last run; all of them must have been ended and reaped.
  void ExpectNamedProcessesGone(size_t count) {
    size_t found = 0;
    const char* rest = run_.console.c_str();
    for (Match match; (match = Search(rest, "pid ([0-9]+) \\(")).found; ++found) {
      EXPECT_EQ(kill(std::atoi(rest + match.places[1].rm_so), 0), -1);
      EXPECT_EQ(errno, ESRCH);
      rest += match.places[0].rm_eo;
    }
    EXPECT_EQ(found, count) << run_.console;
  }

  std::string ReportPath() const { return folder_ + "/report.xml"; }
  size_t FilesLeft() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_)) ++count;
    return count;
  }

  // Failures of the listener carry the place of the case.
  const std::string place_ = "[^\n]*victim\\.cc:[0-9]+\nFailed\n";
  const std::string victim_ = "[^\n]*runner_victim [^\n]*--gtest_filter=[^\n]*";
  std::string folder_;
  VictimRun run_;
};

TEST_F(RunnerTest, GoodCasesPass) {
  RunVictim("--gtest_filter=Good.*",
            "GLIBC_TUNABLES=glibc.malloc.check=0 "
            "VICTIM_EXPECTS_TUNABLES=glibc.malloc.check=0");
  EXPECT_EQ(run_.exit_code, 0) << run_.console;
  const pugi::xml_node root = run_.report.child("testsuites");
  EXPECT_STREQ(root.attribute("tests").value(), "10");
  EXPECT_STREQ(root.attribute("failures").value(), "0");
  EXPECT_STREQ(root.attribute("disabled").value(), "1");
  EXPECT_STREQ(root.child("testsuite").attribute("skipped").value(), "1");
  EXPECT_EQ(run_.Count("[       OK ]"), 8u) << run_.console;
  EXPECT_TRUE(run_.Shows("[ DISABLED ] Good.DISABLED_Waits\n"));
  EXPECT_EQ(FilesLeft(), 1u) << "the report alone";
}

TEST_F(RunnerTest, SkippedCaseGivesItsReason) {
  RunVictim("--gtest_filter=Good.Skips");
  EXPECT_EQ(run_.exit_code, 0);
  EXPECT_TRUE(
      Search(run_.console.c_str(), "\\[  SKIPPED \\] Good\\.Skips \\([0-9]+ ms\\): for a reason\n")
          .found);
  const pugi::xml_node skipped =
      run_.report.select_node("//testcase[@name='Skips']/skipped").node();
  EXPECT_TRUE(skipped);
}

TEST_F(RunnerTest, CaseSeesNoTunablesWhereNoneWereSet) {
  RunVictim("--gtest_filter=Good.SeesTheCallersEnvironment", "-u GLIBC_TUNABLES");
  EXPECT_EQ(run_.exit_code, 0) << run_.console;
}

TEST_F(RunnerTest, PropertiesOfGoogleTestStay) {
  RunVictim("--gtest_filter=Good.Passes");
  EXPECT_TRUE(run_.report.select_node("//testcase/properties/property[@name='key']"));
  EXPECT_TRUE(run_.report.select_node("//testcase[@name='Passes' and @status='run']"));
}

TEST_F(RunnerTest, FailedAssertionIsReportedInValidXml) {
  const std::vector<std::string> failures = FailuresOf("Bad.Fails");
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_NE(failures[0].find("seen with"), std::string::npos);
  const std::string output = run_.report.select_node("//system-out").node().text().get();
  EXPECT_NE(output.find("seen with ? and \n"), std::string::npos) << output;
}

TEST_F(RunnerTest, LeakedDescriptorIsNamed) {
  ExpectFailures("Bad.LeaksDescriptor", {place_ + "descriptor [0-9]+ was left open: /dev/zero"});
}

TEST_F(RunnerTest, ClosedDescriptorIsNamed) {
  ExpectFailures("Bad.ClosesAForeignDescriptor",
                 {place_ + "descriptor 0 \\(/dev/null\\) was open before and has been closed"});
}

TEST_F(RunnerTest, ReplacedDescriptorIsNamed) {
  ExpectFailures("Bad.ReplacesADescriptor",
                 {place_ + "descriptor 0 was /dev/null before and is now /dev/zero"});
}

TEST_F(RunnerTest, LeakOfTheSuiteIsFound) {
  ExpectFailures(
      "BadSuite.LeaksInItsSetUp",
      {"ended with exit code 1 although no assertion of the case failed, see its output"});
  EXPECT_TRUE(Search(run_.console.c_str(),
                     "after the suite and the environments: descriptor [0-9]+ was left open: "
                     "/dev/zero\n")
                  .found);
}

TEST_F(RunnerTest, RunningChildIsNamedAndEnded) {
  ExpectFailures("Bad.LeavesChild",
                 {place_ + "a running child was left: pid [0-9]+ \\(state [RSD]\\): " + victim_});
  ExpectNamedProcessesGone(1);
}

TEST_F(RunnerTest, ZombieIsNamedAndReaped) {
  ExpectFailures("Bad.LeavesZombie",
                 {place_ + "an unreaped child was left: pid [0-9]+ \\(state Z\\): \\[[^]]+\\]"});
  ExpectNamedProcessesGone(1);
}

TEST_F(RunnerTest, OrphanIsNamedAndEnded) {
  ExpectFailures("Bad.LeavesOrphan",
                 {"a descendant outlived the case: pid [0-9]+ \\(state [RSD]\\): " + victim_});
  ExpectNamedProcessesGone(1);
}

TEST_F(RunnerTest, LeakedHeapIsFound) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer has no leak check";
  if (kAddressSanitizer) {
    ASSERT_EQ(FailuresOf("Bad.LeaksHeap").size(), 1u);
    EXPECT_TRUE(run_.Shows("LeakSanitizer: detected memory leaks")) << run_.console;
    return;
  }
  ExpectFailures("Bad.LeaksHeap", {place_ + "the heap grew in each of 5 runs in one process, in "
                                            "bytes: [0-9]+(, [1-9][0-9]){4}"});
}

TEST_F(RunnerTest, GrowingReachableHeapIsFound) {
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "glibc's malloc is not in use";
  const std::string bytes = "1052[67][0-9][0-9]";
  ExpectFailures("Bad.GrowsReachableHeap",
                 {place_ + "the heap grew in each of 5 runs in one process, in bytes: [0-9]+, " +
                      bytes + ", " + bytes + ", " + bytes + ", " + bytes,
                  place_ + "the mappings grew in each of 5 runs .*"});
}

TEST_F(RunnerTest, LeakedMappingIsFound) {
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP() << "sanitizers map memory themselves";
  ExpectFailures("Bad.LeaksMapping", {place_ + "the mappings grew in each of 5 runs in one "
                                               "process, in bytes: 8192, 8192, 8192, 8192, 8192"});
}

TEST_F(RunnerTest, HangingCaseIsEndedWithAllItsDescendants) {
  const std::string process = "\nwith pid [0-9]+ \\(state [RSD]\\): " + victim_;
  ExpectFailures("Bad.Hangs", {"was ended after its time limit of [0-9.]+ s" + process + process});
  ExpectNamedProcessesGone(2);
}

TEST_F(RunnerTest, CaseThatIgnoresSigabrtIsEnded) {
  ExpectFailures("Bad.HangsAgainstAbort", {"was ended after its time limit of [0-9.]+ s"});
}

TEST_F(RunnerTest, TimeLimitIsScaled) {
  const std::vector<std::string> failures =
      FailuresOf("All/BadValue.Hangs/0", "ALERTPIPE_TIME_SCALE=0.5");
  EXPECT_EQ(failures, std::vector<std::string>{"was ended after its time limit of 0.5 s"});
}

TEST_F(RunnerTest, DeathByASignalIsNamed) {
  ExpectFailures("Bad.Crashes", {"died from SIGKILL"});
  EXPECT_TRUE(run_.Shows("last words\n"));
}

TEST_F(RunnerTest, EarlyExitIsNoSuccess) {
  ExpectFailures("Bad.ExitsEarly",
                 {"ended with exit code 0 before GoogleTest had reported the case"});
}

TEST_F(RunnerTest, EscapedForkIsFound) {
  ExpectFailures("Bad.LetsAForkEscape", {"a process forked by the case came out of the test body"});
}

TEST_F(RunnerTest, FloodOfOutputIsEnded) {
  ExpectFailures("Bad.FloodsOutput",
                 {"was ended after [0-9]+ bytes of output, the limit is 67108864"});
  EXPECT_TRUE(run_.Shows("bytes of output left out]"));
}

TEST_F(RunnerTest, NoMatchingCaseIsAFailure) {
  RunVictim("--gtest_filter=No.Such");
  EXPECT_EQ(run_.exit_code, 1);
  EXPECT_TRUE(run_.Shows("no case matches the filter No.Such\n")) << run_.console;
  RunVictim("--gtest_filter=No.Such", "ALERTPIPE_DIRECT=1");
  EXPECT_EQ(run_.exit_code, 1);
}

TEST_F(RunnerTest, OptionForNoCaseIsRefused) {
  RunVictim("", "", "runner_wrong_option");
  EXPECT_EQ(run_.exit_code, 2);
  EXPECT_TRUE(run_.Shows("names Lonely.Misspelt, which is no case\n")) << run_.console;
}

TEST_F(RunnerTest, WrongSettingIsRefused) {
  RunVictim("", "ALERTPIPE_JOBS=0");
  EXPECT_EQ(run_.exit_code, 2);
  EXPECT_TRUE(run_.Shows("ALERTPIPE_JOBS is 0, but must be a number from 1 to 256\n"));
}

TEST_F(RunnerTest, RepeatRunsAGoodCaseSoOftenAndStopsAtAFailure) {
  RunVictim("--gtest_filter=Good.Passes:Bad.Fails", "ALERTPIPE_REPEAT=3");
  EXPECT_EQ(run_.exit_code, 1);
  EXPECT_EQ(run_.Count("[       OK ] Good.Passes"), 3u) << run_.console;
  EXPECT_EQ(run_.Count("[ RUN      ] Bad.Fails"), 1u) << run_.console;
  EXPECT_STREQ(run_.report.child("testsuites").attribute("tests").value(), "2");
}

TEST_F(RunnerTest, GoogleTestsOwnRepeatAndFailFastWork) {
  RunVictim("--gtest_filter=Good.Passes --gtest_repeat=2");
  EXPECT_EQ(run_.Count("[       OK ] Good.Passes"), 2u) << run_.console;
  RunVictim("--gtest_filter=Bad.Fails:Bad.LeaksDescriptor --gtest_fail_fast");
  EXPECT_EQ(run_.Count("[ RUN      ]"), 1u) << run_.console;
}

TEST_F(RunnerTest, LeftoversBelongToTheirCaseAmongParallelOnes) {
  RunVictim("--gtest_filter=Good.Reaps:Good.Passes:Bad.LeavesOrphan",
            "ALERTPIPE_JOBS=3 ALERTPIPE_REPEAT=10");
  EXPECT_EQ(run_.exit_code, 1);
  EXPECT_EQ(run_.Count("[       OK ]"), 20u) << run_.console;
  EXPECT_EQ(run_.Count("Bad.LeavesOrphan a descendant outlived the case: "), 1u) << run_.console;
  ExpectNamedProcessesGone(1);
}

TEST_F(RunnerTest, DirectModeRunsCasesInOneProcessAndChecksDescriptors) {
  RunVictim("--gtest_filter=Good.Passes:Bad.LeaksDescriptor", "ALERTPIPE_DIRECT=1");
  EXPECT_EQ(run_.exit_code, 1);
  EXPECT_TRUE(run_.Shows("was left open: /dev/zero")) << run_.console;
  EXPECT_TRUE(run_.Shows("[       OK ] Good.Passes")) << run_.console;
}

TEST_F(RunnerTest, InterruptedRunnerEndsItsCaseAndLeavesNothing) {
  RunVictim("--gtest_filter=Bad.HangsBeforeInterrupt");
  EXPECT_EQ(run_.exit_code, 128 + SIGTERM) << run_.console;
  ExpectNamedProcessesGone(1);
  EXPECT_EQ(FilesLeft(), 0u);
}

TEST_F(RunnerTest, ListsCasesOnly) {
  RunVictim("--gtest_filter=Good.Passes --gtest_list_tests");
  EXPECT_EQ(run_.exit_code, 0);
  EXPECT_TRUE(run_.Shows("Good.\n  Passes\n")) << run_.console;
}

}  // namespace
