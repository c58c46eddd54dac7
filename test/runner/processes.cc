// SPDX-License-Identifier: Apache-2.0
#include "runner/processes.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <dirent.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>

namespace alertpipe::runner {
namespace {

constexpr uint64_t kExitingFlag = 0x4;  // PF_EXITING of the kernel, in the flags of stat.
constexpr size_t kCommandLengthMax = 1000;

std::string ReadProc(pid_t pid, const char* file) {
  std::ifstream stream(absl::StrCat("/proc/", pid, "/", file), std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

bool HasPendingSigkill(pid_t pid) {
  for (const absl::string_view line : absl::StrSplit(ReadProc(pid, "status"), '\n')) {
    if (line.substr(0, 7) != "SigPnd:" && line.substr(0, 7) != "ShdPnd:") continue;
    const absl::string_view digits = line.substr(line.find_first_not_of(" \t", 7));
    uint64_t mask = 0;
    if (absl::SimpleHexAtoi(digits, &mask) && (mask >> (SIGKILL - 1) & 1) != 0) return true;
  }
  return false;
}

std::string CommandLine(pid_t pid, absl::string_view name) {
  std::string command = ReadProc(pid, "cmdline");
  while (!command.empty() && command.back() == '\0') command.pop_back();
  if (command.empty()) return absl::StrCat("[", name, "]");
  std::replace_if(
      command.begin(), command.end(), [](unsigned char c) { return c < ' '; }, ' ');
  if (command.size() > kCommandLengthMax) command.resize(kCommandLengthMax);
  return command;
}

// The name in parentheses may hold spaces and parentheses, so the fields count from the last ')':
// state, parent, group, session, terminal, terminal's group, flags.
std::optional<Process> ReadProcess(pid_t pid) {
  const std::string stat = ReadProc(pid, "stat");
  const size_t open = stat.find('(');
  const size_t close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  std::istringstream fields(stat.substr(close + 1));
  Process process;
  process.pid = pid;
  int64_t group, session, terminal, terminal_group;
  uint64_t flags = 0;
  fields >> process.state >> process.parent >> group >> session >> terminal >> terminal_group >>
      flags;
  if (!fields) return std::nullopt;
  process.ending = process.state == 'Z' || process.state == 'X' || (flags & kExitingFlag) != 0;
  process.command = stat.substr(open + 1, close - open - 1);
  return process;
}

std::vector<Process> ReadAllProcesses() {
  std::vector<Process> processes;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc"), &closedir);
  if (folder == nullptr) return processes;
  while (const dirent* entry = readdir(folder.get())) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry->d_name, &pid)) continue;
    std::optional<Process> process = ReadProcess(pid);
    if (process.has_value()) processes.push_back(*std::move(process));
  }
  return processes;
}

void Complete(Process* process) {
  process->ending = process->ending || HasPendingSigkill(process->pid);
  process->command = CommandLine(process->pid, process->command);
}

}  // namespace

std::vector<Process> ListChildren(pid_t root) {
  std::vector<Process> children;
  for (Process& process : ReadAllProcesses()) {
    if (process.parent != root) continue;
    Complete(&process);
    children.push_back(std::move(process));
  }
  return children;
}

std::vector<Process> ListDescendants(pid_t root) {
  std::vector<Process> all = ReadAllProcesses();
  std::set<pid_t> family = {root};
  std::vector<Process> descendants;
  // A child may have a smaller pid than its parent, so one pass is not enough.
  for (bool found = true; found;) {
    found = false;
    for (Process& process : all) {
      if (family.count(process.parent) == 0 || !family.insert(process.pid).second) continue;
      Complete(&process);
      descendants.push_back(process);
      found = true;
    }
  }
  return descendants;
}

std::string Describe(const Process& process) {
  return absl::StrCat("pid ", process.pid, " (state ", std::string(1, process.state),
                      "): ", process.command);
}

}  // namespace alertpipe::runner
