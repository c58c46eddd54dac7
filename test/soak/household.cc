// SPDX-License-Identifier: Apache-2.0
#include "household.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "player.h"

namespace alertpipe::soak {
namespace {

constexpr int kCannotLive = 4;
constexpr int kLoopNotEmpty = 5;

// Calls `each(descriptor, inode)` for the pipes that are open here.
template <typename Each>
void ForEachPipe(Each each) {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return;
  while (const dirent* entry = readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    struct stat about;
    if (entry->d_name[0] != '.' && fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode))
      each(fd, about.st_ino);
  }
  closedir(folder);
}

// The only pipe of the family that a worker can read is its own.
void NotePipe(int slot, const Household& household) {
  Place& place = household.ledger->places[slot];
  if (place.inode.Get() != 0) return;
  for (const std::uint64_t inode : OpenPipes(true)) {
    if (household.pipes.count(inode) != 0) place.inode.Set(inode);
  }
}

}  // namespace

std::set<std::uint64_t> OpenPipes(bool readable_only) {
  std::set<std::uint64_t> inodes;
  ForEachPipe([&](int fd, std::uint64_t inode) {
    if (!readable_only || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) inodes.insert(inode);
  });
  return inodes;
}

int DescriptorOf(std::uint64_t inode) {
  int found = -1;
  ForEachPipe([&](int fd, std::uint64_t other) {
    if (other == inode) found = fd;
  });
  return found;
}

int LiveAsWorker(Slot slot, const Household& household) {
  // Nothing outlives a soak that went wrong.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int number = slot.number();
  uv_loop_t loop;
  if (uv_loop_init(&loop) != 0) return kCannotLive;
  AttachOptions options;
  options.linger = number % 3 == 0 ? 4 : 0;  // some of them
  absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Attach(std::move(slot), &loop, options);
  if (!worker.ok()) {
    std::fprintf(stderr, "soak: slot %d: %s\n", number, worker.status().ToString().c_str());
    return kCannotLive;
  }
  NotePipe(number, household);
  const bool first_keeper = number == kKeeper && (*worker)->self().generation == 1;
  const Canary canary = first_keeper ? household.settings.canary : Canary::kNone;
  Player player(worker->get(), &loop, household.ledger, household.material, household.settings.seed,
                canary);
  player.LeaveWhenTold(worker->get());
  (*worker)->OnMasterGone([] { _exit(kCannotLive); });
  player.Start();
  uv_run(&loop, UV_RUN_DEFAULT);
  // It has been replaced; the loop ended because nothing is open any more.
  worker->reset();
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) == 0 ? 0 : kLoopNotEmpty;
}

}  // namespace alertpipe::soak
