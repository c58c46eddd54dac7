// SPDX-License-Identifier: Apache-2.0
//
// Where the processes of a family wait for each other.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_RENDEZVOUS_H_
#define ALERTPIPE_BENCH_TRANSPORTS_RENDEZVOUS_H_

#include <atomic>
#include <memory>

#include <absl/status/statusor.h>

namespace alertpipe::bench {

class Rendezvous {
 public:
  // To be called before the first fork.
  static absl::StatusOr<std::unique_ptr<Rendezvous>> Create(int processes);
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;
  ~Rendezvous();

  // In each process once: returns when all of them have called it.
  void Await();

 private:
  Rendezvous(int processes, void* memory);

  int processes_;
  std::atomic<int>* arrived_;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_RENDEZVOUS_H_
