// SPDX-License-Identifier: Apache-2.0
//
// The wire once more, written from docs/wire.md and from nothing else: slow, and so simple that it
// can be compared with the page by eye. Nothing of lib/core/packet.h is used here.
#ifndef ALERTPIPE_TEST_FUZZ_NAIVE_WIRE_H_
#define ALERTPIPE_TEST_FUZZ_NAIVE_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace alertpipe::fuzz {

// `bytes` bytes from `at` on, little-endian. The caller knows that they are there.
std::uint64_t NumberAt(std::string_view from, std::size_t at, std::size_t bytes);
std::string NumberBytes(std::uint64_t number, std::size_t bytes);

struct NaiveHeader {
  std::size_t length = 32;
  int source_slot = 0;
  int lane = 0;
  std::uint32_t source_generation = 0;
  std::uint32_t source_pid = 0;
  std::uint32_t destination_generation = 0;
  std::uint64_t sequence = 0;
};

// 32 bytes.
std::string WriteHeader(const NaiveHeader& header);

enum class Looks { kPacket, kShort, kWrong };
// kShort: there may be a packet once more bytes have come.
Looks ReadHeader(std::string_view bytes, NaiveHeader* header);

struct NaiveRecord {
  int kind = 0;
  bool response = false;
  bool has_request_id = false;
  std::uint64_t request_id = 0;
  bool has_time = false;
  std::uint64_t time = 0;
  std::uint64_t total = 0;
  std::string name;
  std::string data;
  std::size_t size = 0;  // of the whole record

  bool control() const { return kind >= 16; }
  bool starts() const { return kind == 1 || kind == 2; }
};

std::string WriteRecord(const NaiveRecord& record);
// Whether what is left of a packet is padding.
bool IsPadding(std::string_view bytes);
// The record at the beginning of `bytes`, which are not empty. False: it is none.
bool ReadRecord(std::string_view bytes, NaiveRecord* record);

}  // namespace alertpipe::fuzz

#endif  // ALERTPIPE_TEST_FUZZ_NAIVE_WIRE_H_
