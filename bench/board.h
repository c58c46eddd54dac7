// SPDX-License-Identifier: Apache-2.0
//
// Memory that all processes of a measurement share: when to start, and what each has to report.
// Nothing of it is touched while alerts are being counted.
#ifndef ALERTPIPE_BENCH_BOARD_H_
#define ALERTPIPE_BENCH_BOARD_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <absl/status/statusor.h>

namespace alertpipe::bench {

// CLOCK_MONOTONIC, the same in all processes.
std::int64_t NowNs();

// What one process reports. It writes here alone; the parent reads when it has ended.
struct alignas(128) Place {
  std::atomic<bool> ready{false};

  double alerts_per_second = 0;  // 0 for a process that counts nothing
  double p50_us = 0;             // 0 where no latency is measured
  double p99_us = 0;
  double p999_us = 0;

  std::uint64_t alerts_sent = 0;
  std::uint64_t packets_written = 0;

  std::atomic<bool> failed{false};
  char why[232] = {};  // the first failure

  void Fail(const std::string& text);
};

// When alerts count.
struct Window {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

class Board {
 public:
  // To be called before the first fork. kResourceExhausted when there is no memory.
  static absl::StatusOr<std::unique_ptr<Board>> Create(int processes);
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;
  ~Board();

  int processes() const { return processes_; }
  Place& place(int process) { return places_[process]; }

  // In the parent, once all are ready.
  bool AllReady();
  void Start(const Window& window);

  // In a child: says that it is ready, waits for the start.
  Window AwaitStart(int process);

 private:
  struct Shared;
  Board(int processes, void* memory);
  static std::size_t Bytes(int processes);

  int processes_;
  Shared* shared_;
  Place* places_;
};

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_BOARD_H_
