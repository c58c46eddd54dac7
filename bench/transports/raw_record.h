// SPDX-License-Identifier: Apache-2.0
//
// What the raw pipes carry: records, each a head of 16 bytes and what fits behind it of one alert,
// the name first. A write holds whole records and at most 4096 bytes, so that the kernel never
// mixes it with another writer's. Processes on one machine: fields are as the machine has them.
#ifndef ALERTPIPE_BENCH_TRANSPORTS_RAW_RECORD_H_
#define ALERTPIPE_BENCH_TRANSPORTS_RAW_RECORD_H_

#include <cstddef>
#include <cstdint>

namespace alertpipe::bench {

inline constexpr std::size_t kWriteBytesMax = 4096;

struct RawHead {
  std::uint32_t total = 0;   // bytes of the whole alert, name included
  std::uint32_t number = 0;  // of the alert, counted for each sender, receiver and lane
  std::uint16_t part = 0;    // bytes of it that follow here
  std::uint16_t sender = 0;
  std::uint8_t lane = 0;  // 0 what is posted, 1 what is replied: each has its own order
  std::uint8_t is_first = 0;
  std::uint16_t padding = 0;  // bytes behind the part that mean nothing
};
static_assert(sizeof(RawHead) == 16);

inline constexpr int kPostLane = 0;
inline constexpr int kReplyLane = 1;
inline constexpr int kLanes = 2;

}  // namespace alertpipe::bench

#endif  // ALERTPIPE_BENCH_TRANSPORTS_RAW_RECORD_H_
