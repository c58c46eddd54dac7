// SPDX-License-Identifier: Apache-2.0
#include "runner/holdings.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <dirent.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

#include "runner/processes.h"

namespace alertpipe::runner {
namespace {

std::string LinkTarget(int descriptor) {
  char target[PATH_MAX];
  const std::string link = absl::StrCat("/proc/self/fd/", descriptor);
  const ssize_t length = readlink(link.c_str(), target, sizeof(target));
  return length < 0 ? "?" : std::string(target, static_cast<size_t>(length));
}

// A line of maps: "7f00-7f10 rw-p 00000000 00:00 0   [name or path]".
int64_t CountedBytes(const std::string& line) {
  std::istringstream fields(line);
  std::string range, permissions, offset, device, name;
  uint64_t inode = 0;
  fields >> range >> permissions >> offset >> device >> inode >> name;
  const bool shared = permissions.size() == 4 && permissions[3] == 's';
  if (!shared && (inode != 0 || (!name.empty() && name.front() == '['))) return 0;
  const size_t dash = range.find('-');
  uint64_t begin = 0, end = 0;
  if (!absl::SimpleHexAtoi(range.substr(0, dash), &begin) ||
      !absl::SimpleHexAtoi(range.substr(dash + 1), &end)) {
    return 0;
  }
  return static_cast<int64_t>(end - begin);
}

}  // namespace

Descriptors ReadDescriptors() {
  Descriptors descriptors;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/fd"), &closedir);
  if (folder == nullptr) return descriptors;
  while (const dirent* entry = readdir(folder.get())) {
    int descriptor = -1;
    if (!absl::SimpleAtoi(entry->d_name, &descriptor)) continue;
    if (descriptor != dirfd(folder.get())) descriptors[descriptor] = LinkTarget(descriptor);
  }
  return descriptors;
}

std::vector<std::string> CompareDescriptors(const Descriptors& before, const Descriptors& after) {
  std::vector<std::string> lines;
  for (const auto& [descriptor, target] : after) {
    const auto old = before.find(descriptor);
    if (old == before.end()) {
      lines.push_back(absl::StrCat("descriptor ", descriptor, " was left open: ", target));
    } else if (old->second != target) {
      lines.push_back(absl::StrCat("descriptor ", descriptor, " was ", old->second,
                                   " before and is now ", target));
    }
  }
  for (const auto& [descriptor, target] : before) {
    if (after.count(descriptor) == 0) {
      lines.push_back(absl::StrCat("descriptor ", descriptor, " (", target,
                                   ") was open before and has been closed"));
    }
  }
  return lines;
}

std::set<pid_t> ReadChildren() {
  std::set<pid_t> children;
  for (const Process& process : ListChildren(getpid())) children.insert(process.pid);
  return children;
}

std::vector<std::string> TakeNewChildren(const std::set<pid_t>& before) {
  std::vector<std::string> lines;
  for (const Process& process : ListChildren(getpid())) {
    if (before.count(process.pid) != 0) continue;
    const char* const what = process.ending ? "an unreaped child" : "a running child";
    lines.push_back(absl::StrCat(what, " was left: ", Describe(process)));
    kill(process.pid, SIGKILL);
    while (waitpid(process.pid, nullptr, __WALL) < 0 && errno == EINTR) {
    }
  }
  return lines;
}

int64_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<int64_t>(info.uordblks + info.hblkhd);
}

int64_t MappingBytes() {
  std::ifstream maps("/proc/self/maps");
  int64_t bytes = 0;
  for (std::string line; std::getline(maps, line);) bytes += CountedBytes(line);
  return bytes;
}

bool IsHeapMeasurable() {
  constexpr int64_t kLargeBytes = 64 << 10;
  constexpr size_t kSmallBytes = 1000;
  const int64_t before = HeapBytes();
  void* volatile large = std::malloc(kLargeBytes);
  void* volatile small = std::malloc(kSmallBytes);
  const int64_t held = HeapBytes() - before;
  std::free(small);
  std::free(large);
  return held >= kLargeBytes && HeapBytes() == before;
}

}  // namespace alertpipe::runner
