// SPDX-License-Identifier: Apache-2.0
#include "runner/supervisor.h"

#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <filesystem>
#include <map>
#include <pugixml.hpp>

#include "runner/case_list.h"
#include "runner/case_process.h"
#include "runner/console.h"
#include "runner/report.h"
#include "runner/test_case.h"
#include "runner/verdict.h"
#include "runner/warden.h"

namespace alertpipe::runner {
namespace {

constexpr int kWrongCommand = 2;
constexpr int kSignalExitBase = 128;

std::string Timestamp() {
  const time_t now = time(nullptr);
  tm local = {};
  localtime_r(&now, &local);
  char text[32];
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &local);
  return text;
}

// A folder of this process that goes with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::error_code error;
    const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
    std::string name = (error ? std::filesystem::path("/tmp") : parent) / "alertpipe_test_XXXXXX";
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class Supervisor {
 public:
  Supervisor(const Settings& settings, const std::vector<std::string>& arguments)
      : settings_(settings),
        arguments_(arguments),
        case_signal_mask_(BlockRunnerSignals()),
        report_(Timestamp()),
        console_(settings.verbose) {}

  bool IsReady() const { return !folder_.path().empty(); }

  // Runs all cases once, each as often as ALERTPIPE_REPEAT says. Returns the signal that
  // interrupted it, or 0.
  int Run(const std::vector<const testing::TestInfo*>& cases);

  // Returns the exit code.
  int Finish(const std::string& report_path);

 private:
  struct CaseRun {
    const testing::TestInfo* info = nullptr;
    int runs_left = 0;
    std::string folder;
  };

  void Start(CaseRun run);
  void TakeVerdict(CaseRun run, int warden_status);
  void StopWardens();
  std::vector<std::string> CaseCommand(const testing::TestInfo& info,
                                       const std::string& folder) const;

  const Settings& settings_;
  const std::vector<std::string>& arguments_;
  const sigset_t case_signal_mask_;
  const TemporaryFolder folder_;
  Report report_;
  Console console_;
  int64_t folders_ = 0;
  bool stopped_ = false;  // --gtest_fail_fast
  std::deque<CaseRun> waiting_;
  std::map<pid_t, CaseRun> running_;
};

// Later flags win over those of the user.
std::vector<std::string> Supervisor::CaseCommand(const testing::TestInfo& info,
                                                 const std::string& folder) const {
  std::vector<std::string> command = arguments_;
  command.push_back(CaseFolderFlag(folder));
  command.push_back("--gtest_filter=" + FullName(info));
  command.push_back("--gtest_output=xml:" + CaseFolder(folder).result);
  for (const char* flag :
       {"--gtest_repeat=1", "--gtest_shuffle=0", "--gtest_fail_fast=0", "--gtest_color=no"}) {
    command.emplace_back(flag);
  }
  command.emplace_back(settings_.verbose ? "--gtest_brief=0" : "--gtest_brief=1");
  return command;
}

void Supervisor::Start(CaseRun run) {
  const testing::TestInfo& info = *run.info;
  run.folder = absl::StrCat(folder_.path(), "/", ++folders_);
  std::error_code ignored;
  std::filesystem::create_directory(run.folder, ignored);
  CaseOrder order;
  order.info = run.info;
  order.folder = run.folder;
  order.command = CaseCommand(info, run.folder);
  order.time_limit_seconds = TimeLimitSeconds(info.test_suite_name(), info.name());
  order.time_scale = settings_.time_scale;
  order.case_signal_mask = case_signal_mask_;
  console_.ShowStart(FullName(info));
  const pid_t warden = StartWarden(order);
  if (warden > 0) {
    running_[warden] = std::move(run);
  } else {
    std::fprintf(stderr, "fork: %s\n", strerror(errno));
    TakeVerdict(std::move(run), -1);
  }
}

void Supervisor::TakeVerdict(CaseRun run, int warden_status) {
  const CaseFolder folder(run.folder);
  pugi::xml_document verdict;
  if (warden_status != 0 || !verdict.load_file(folder.verdict.c_str())) {
    verdict.reset();
    pugi::xml_node test_case = verdict.append_child("testcase");
    FillTestCase(*run.info, 0, test_case);
    AddFinding(absl::StrCat("has no verdict: the runner's own process ended with wait status ",
                            warden_status),
               test_case);
  }
  const pugi::xml_node test_case = verdict.first_child();
  report_.Add(*run.info, test_case);
  console_.ShowVerdict(FullName(*run.info), test_case, ReadOutput(folder));
  std::error_code ignored;
  std::filesystem::remove_all(run.folder, ignored);
  const bool failed = OutcomeOf(test_case) == Outcome::kFailed;
  if (failed && GTEST_FLAG_GET(fail_fast)) stopped_ = true;
  if (!failed && --run.runs_left > 0) waiting_.push_front(std::move(run));
}

void Supervisor::StopWardens() {
  for (const auto& [warden, run] : running_) kill(warden, SIGTERM);
  for (const auto& [warden, run] : running_) {
    while (waitpid(warden, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  running_.clear();
}

int Supervisor::Run(const std::vector<const testing::TestInfo*>& cases) {
  for (const testing::TestInfo* info : cases) {
    if (info->should_run()) {
      waiting_.push_back({info, settings_.repeat, ""});
    } else {
      report_.AddDisabled(*info);
      console_.ShowDisabled(FullName(*info));
    }
  }
  while (true) {
    while (!stopped_ && !waiting_.empty() &&
           running_.size() < static_cast<size_t>(settings_.jobs)) {
      CaseRun run = std::move(waiting_.front());
      waiting_.pop_front();
      Start(std::move(run));
    }
    if (running_.empty()) return 0;
    const int signal = WaitForRunnerSignal();
    if (signal != SIGCHLD) {
      StopWardens();
      return signal;
    }
    int status = 0;
    for (pid_t warden; (warden = waitpid(-1, &status, WNOHANG)) > 0;) {
      auto ended = running_.extract(warden);
      if (!ended.empty()) TakeVerdict(std::move(ended.mapped()), status);
    }
  }
}

int Supervisor::Finish(const std::string& report_path) {
  const bool good = console_.ShowSummary();
  if (!report_path.empty() && !report_.Write(report_path)) {
    std::fprintf(stderr, "the report cannot be written to %s\n", report_path.c_str());
    return EXIT_FAILURE;
  }
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

// Returns whether the test's macros name cases that exist.
bool CheckOptions() {
  const std::vector<std::string> unmatched = UnmatchedOptions();
  for (const std::string& name : unmatched) {
    std::fprintf(stderr, "a time limit or an allowance names %s, which is no case\n", name.c_str());
  }
  return unmatched.empty();
}

}  // namespace

int Supervise(const Settings& settings, const std::vector<std::string>& arguments) {
  const std::optional<std::string> report_path = ReportPath(arguments.front());
  if (!report_path.has_value()) {
    std::fprintf(stderr, "--gtest_output can only be xml or xml:PATH here\n");
    return kWrongCommand;
  }
  if (!CheckOptions()) return kWrongCommand;
  const std::vector<const testing::TestInfo*> cases = SelectCases();
  if (cases.empty()) {
    std::fprintf(stderr, "no case matches the filter %s\n", GTEST_FLAG_GET(filter).c_str());
    return EXIT_FAILURE;
  }
  Supervisor supervisor(settings, arguments);
  if (!supervisor.IsReady()) {
    std::fprintf(stderr, "no temporary folder can be made\n");
    return kWrongCommand;
  }
  const int repeat = GTEST_FLAG_GET(repeat);
  for (int i = 0; repeat < 0 || i < repeat; ++i) {
    const int signal = supervisor.Run(cases);
    if (signal != 0) return kSignalExitBase + signal;
  }
  return supervisor.Finish(*report_path);
}

}  // namespace alertpipe::runner
