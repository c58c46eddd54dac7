// SPDX-License-Identifier: Apache-2.0
#include "transports/rendezvous.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>

namespace alertpipe::bench {
namespace {

constexpr useconds_t kPollUs = 200;

}  // namespace

absl::StatusOr<std::unique_ptr<Rendezvous>> Rendezvous::Create(int processes) {
  void* memory = mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "shared memory");
  return std::unique_ptr<Rendezvous>(new Rendezvous(processes, memory));
}

Rendezvous::Rendezvous(int processes, void* memory)
    : processes_(processes), arrived_(new (memory) std::atomic<int>(0)) {}

Rendezvous::~Rendezvous() { munmap(arrived_, sizeof(std::atomic<int>)); }

void Rendezvous::Await() {
  ++*arrived_;
  while (arrived_->load() < processes_) usleep(kPollUs);
}

}  // namespace alertpipe::bench
