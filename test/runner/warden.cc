// SPDX-License-Identifier: Apache-2.0
#include "runner/warden.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <optional>

#include "runner/case_process.h"
#include "runner/processes.h"
#include "runner/verdict.h"

namespace alertpipe::runner {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr int64_t kTickNanoseconds = kNanosecondsPerSecond / 2;
constexpr int64_t kAbortNanoseconds = 3 * kNanosecondsPerSecond;
constexpr int64_t kCleanupNanoseconds = 30 * kNanosecondsPerSecond;
// Covers the instants at which a dying process shows neither its SIGKILL nor that it is ending.
constexpr int64_t kSecondLookNanoseconds = kNanosecondsPerSecond / 20;
constexpr int64_t kOutputMax = 64 << 20;
constexpr int kExecFailed = 127;

sigset_t RunnerSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

// Returns the signal, or 0 when the time is over.
int WaitForSignal(int64_t nanoseconds) {
  const sigset_t signals = RunnerSignals();
  timespec timeout = {};
  timeout.tv_sec = nanoseconds / kNanosecondsPerSecond;
  timeout.tv_nsec = nanoseconds % kNanosecondsPerSecond;
  const int signal = sigtimedwait(&signals, nullptr, &timeout);
  return signal < 0 ? 0 : signal;
}

std::string SignalName(int signal) {
  const char* const name = sigabbrev_np(signal);
  return name != nullptr ? absl::StrCat("SIG", name) : absl::StrCat("signal ", signal);
}

void Redirect(const char* path, int flags, std::initializer_list<int> targets) {
  const int descriptor = open(path, flags, 0600);
  if (descriptor < 0) _exit(kExecFailed);
  for (const int target : targets) {
    if (dup2(descriptor, target) < 0) _exit(kExecFailed);
  }
  if (descriptor > STDERR_FILENO) close(descriptor);
}

[[noreturn]] void ExecCase(const CaseOrder& order, const CaseFolder& folder, pid_t warden) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != warden) _exit(kExecFailed);
  Redirect("/dev/null", O_RDONLY, {STDIN_FILENO});
  Redirect(folder.output.c_str(), O_CREAT | O_WRONLY | O_APPEND, {STDOUT_FILENO, STDERR_FILENO});
  SetCaseEnvironment();
  std::vector<char*> arguments;
  for (const std::string& argument : order.command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  sigprocmask(SIG_SETMASK, &order.case_signal_mask, nullptr);
  execv("/proc/self/exe", arguments.data());
  std::fprintf(stderr, "exec of /proc/self/exe: %s\n", strerror(errno));
  _exit(kExecFailed);
}

class Warden {
 public:
  explicit Warden(const CaseOrder& order) : order_(order), folder_(order.folder) {}

  // Returns the exit code of the warden.
  int Run();

 private:
  void WaitForCase();
  bool WaitUntilEnded(int64_t deadline);
  void Reap();
  void CheckLimits();
  void EndCase(std::string finding);
  void NameLeftovers();
  bool EndDescendants();
  void ExplainStatus(CaseEnd* end) const;
  int64_t Scaled(int64_t nanoseconds) const {
    return static_cast<int64_t>(static_cast<double>(nanoseconds) * order_.time_scale);
  }

  const CaseOrder& order_;
  const CaseFolder folder_;
  pid_t case_pid_ = -1;
  int64_t started_ = 0;
  std::optional<int> status_;  // The wait status of the case, once it has ended.
  bool interrupted_ = false;
  bool ended_by_warden_ = false;
  std::vector<std::string> findings_;
};

int Warden::Run() {
  started_ = MonotonicNanoseconds();
  const pid_t warden = getpid();
  case_pid_ = fork();
  if (case_pid_ == 0) ExecCase(order_, folder_, warden);
  if (case_pid_ < 0) {
    findings_.push_back(absl::StrCat("the case could not be forked: ", strerror(errno)));
  } else {
    WaitForCase();
  }
  CaseEnd end;
  end.seconds = static_cast<double>(MonotonicNanoseconds() - started_) / kNanosecondsPerSecond;
  // What a case leaves that had to be ended has been named with that.
  if (!ended_by_warden_ && !interrupted_) NameLeftovers();
  if (!EndDescendants()) findings_.push_back("processes of the case cannot be ended by SIGKILL");
  if (interrupted_) return EXIT_FAILURE;
  ExplainStatus(&end);
  return WriteVerdict(*order_.info, folder_, end) ? EXIT_SUCCESS : EXIT_FAILURE;
}

void Warden::WaitForCase() {
  while (!status_.has_value() && !interrupted_ && !ended_by_warden_) {
    const int signal = WaitForSignal(kTickNanoseconds);
    Reap();
    if (signal != 0 && signal != SIGCHLD) {
      interrupted_ = true;
    } else if (!status_.has_value()) {
      CheckLimits();
    }
  }
}

bool Warden::WaitUntilEnded(int64_t deadline) {
  for (Reap(); !status_.has_value(); Reap()) {
    const int64_t left = deadline - MonotonicNanoseconds();
    if (left <= 0) return false;
    WaitForSignal(std::min(left, kTickNanoseconds));
  }
  return true;
}

void Warden::Reap() {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0;) {
    if (pid == case_pid_) status_ = status;
  }
}

void Warden::CheckLimits() {
  const double limit_seconds = order_.time_limit_seconds * order_.time_scale;
  const int64_t run_start = std::max(started_, ReadRunStart(folder_));
  const double run_seconds =
      static_cast<double>(MonotonicNanoseconds() - run_start) / kNanosecondsPerSecond;
  struct stat output = {};
  if (run_seconds > limit_seconds) {
    EndCase(absl::StrFormat("was ended after its time limit of %g s", limit_seconds));
  } else if (stat(folder_.output.c_str(), &output) == 0 && output.st_size > kOutputMax) {
    EndCase(absl::StrFormat("was ended after %d bytes of output, the limit is %d",
                            static_cast<int64_t>(output.st_size), kOutputMax));
  }
}

// SIGABRT first, for a core or a sanitizer's stack.
void Warden::EndCase(std::string finding) {
  ended_by_warden_ = true;
  for (const Process& process : ListDescendants(getpid())) {
    if (process.pid != case_pid_) absl::StrAppend(&finding, "\nwith ", Describe(process));
  }
  findings_.push_back(std::move(finding));
  kill(case_pid_, SIGABRT);
  WaitUntilEnded(MonotonicNanoseconds() + Scaled(kAbortNanoseconds));
}

void Warden::NameLeftovers() {
  const auto living = [] {
    std::vector<Process> processes = ListDescendants(getpid());
    processes.erase(std::remove_if(processes.begin(), processes.end(),
                                   [](const Process& process) { return process.ending; }),
                    processes.end());
    return processes;
  };
  if (living().empty()) return;
  const timespec pause = {0, kSecondLookNanoseconds};
  nanosleep(&pause, nullptr);
  for (const Process& process : living()) {
    findings_.push_back(absl::StrCat("a descendant outlived the case: ", Describe(process)));
  }
}

// Children only, see the header. Returns whether nothing is left.
bool Warden::EndDescendants() {
  const int64_t deadline = MonotonicNanoseconds() + Scaled(kCleanupNanoseconds);
  while (MonotonicNanoseconds() < deadline) {
    Reap();
    if (waitid(P_ALL, 0, nullptr, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) return true;
    for (const Process& process : ListChildren(getpid())) kill(process.pid, SIGKILL);
    WaitForSignal(kSecondLookNanoseconds);
  }
  return false;
}

void Warden::ExplainStatus(CaseEnd* end) const {
  end->findings = findings_;
  if (std::filesystem::exists(folder_.escape_mark)) {
    end->findings.emplace_back("a process forked by the case came out of the test body");
  }
  if (!status_.has_value() || ended_by_warden_) return;
  if (WIFSIGNALED(*status_)) {
    end->findings.insert(end->findings.begin(),
                         absl::StrCat("died from ", SignalName(WTERMSIG(*status_))));
  } else {
    end->exit_code = WEXITSTATUS(*status_);
  }
}

}  // namespace

sigset_t BlockRunnerSignals() {
  // A caller that ignores SIGCHLD would have our children reaped behind our back.
  signal(SIGCHLD, SIG_DFL);
  const sigset_t signals = RunnerSignals();
  sigset_t before = {};
  sigprocmask(SIG_BLOCK, &signals, &before);
  return before;
}

int WaitForRunnerSignal() {
  const sigset_t signals = RunnerSignals();
  while (true) {
    const int signal = sigwaitinfo(&signals, nullptr);
    if (signal > 0) return signal;
  }
}

pid_t StartWarden(const CaseOrder& order) {
  const pid_t supervisor = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != supervisor || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) _exit(EXIT_FAILURE);
  _exit(Warden(order).Run());
}

}  // namespace alertpipe::runner
