// SPDX-License-Identifier: Apache-2.0
#include "board.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace alertpipe::bench {
namespace {

constexpr useconds_t kStartPollUs = 200;

}  // namespace

struct alignas(128) Board::Shared {
  Window window;
  std::atomic<bool> started{false};
};

std::int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

void Place::Fail(const std::string& text) {
  if (failed.load()) return;
  text.copy(why, sizeof(why) - 1);
  failed.store(true);
}

std::size_t Board::Bytes(int processes) {
  return sizeof(Shared) + static_cast<std::size_t>(processes) * sizeof(Place);
}

absl::StatusOr<std::unique_ptr<Board>> Board::Create(int processes) {
  void* memory = mmap(nullptr, Bytes(processes), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "shared memory");
  return std::unique_ptr<Board>(new Board(processes, memory));
}

Board::Board(int processes, void* memory)
    : processes_(processes),
      shared_(new (memory) Shared),
      places_(reinterpret_cast<Place*>(shared_ + 1)) {
  for (int i = 0; i < processes; ++i) new (places_ + i) Place;
}

Board::~Board() { munmap(shared_, Bytes(processes_)); }

bool Board::AllReady() {
  return std::all_of(places_, places_ + processes_,
                     [](const Place& place) { return place.ready.load(); });
}

void Board::Start(const Window& window) {
  shared_->window = window;
  shared_->started.store(true);
}

Window Board::AwaitStart(int process) {
  place(process).ready.store(true);
  while (!shared_->started.load()) usleep(kStartPollUs);
  return shared_->window;
}

}  // namespace alertpipe::bench
