// SPDX-License-Identifier: Apache-2.0
#include "naive_wire.h"

namespace alertpipe::fuzz {

std::uint64_t NumberAt(std::string_view from, std::size_t at, std::size_t bytes) {
  std::uint64_t number = 0;
  for (std::size_t i = bytes; i > 0; --i)
    number = number * 256 + static_cast<unsigned char>(from[at + i - 1]);
  return number;
}

std::string NumberBytes(std::uint64_t number, std::size_t bytes) {
  std::string result;
  for (std::size_t i = 0; i < bytes; ++i, number /= 256)
    result.push_back(static_cast<char>(number % 256));
  return result;
}

namespace {

std::uint64_t Check(std::string_view header) {
  const std::uint64_t m = 0x9E3779B97F4A7C15;
  std::uint64_t h = NumberAt(header, 0, 4) * m;
  for (const std::size_t x : {8, 16, 24}) {
    h = (h ^ NumberAt(header, x, 8)) * m;
    h = h ^ (h >> 32);
  }
  return h % (std::uint64_t{1} << 32);
}

}  // namespace

std::string WriteHeader(const NaiveHeader& header) {
  const std::string begin = NumberBytes(0xA17E, 2) + NumberBytes(header.length, 2);
  const std::string rest =
      NumberBytes(static_cast<std::uint64_t>(header.source_slot), 2) +
      NumberBytes(static_cast<std::uint64_t>(header.lane), 1) + NumberBytes(1, 1) +
      NumberBytes(header.source_generation, 4) + NumberBytes(header.source_pid, 4) +
      NumberBytes(header.destination_generation, 4) + NumberBytes(header.sequence, 8);
  return begin + NumberBytes(Check(begin + "...." + rest), 4) + rest;
}

Looks ReadHeader(std::string_view bytes, NaiveHeader* header) {
  if (bytes.size() < 32) return Looks::kShort;
  header->length = NumberAt(bytes, 2, 2);
  header->source_slot = static_cast<int>(NumberAt(bytes, 8, 2));
  header->lane = static_cast<int>(NumberAt(bytes, 10, 1));
  header->source_generation = static_cast<std::uint32_t>(NumberAt(bytes, 12, 4));
  header->source_pid = static_cast<std::uint32_t>(NumberAt(bytes, 16, 4));
  header->destination_generation = static_cast<std::uint32_t>(NumberAt(bytes, 20, 4));
  header->sequence = NumberAt(bytes, 24, 8);
  const bool magic = NumberAt(bytes, 0, 2) == 0xA17E;
  const bool version = NumberAt(bytes, 11, 1) == 1;
  const bool check = NumberAt(bytes, 4, 4) == Check(bytes.substr(0, 32));
  const bool length = header->length >= 32 && header->length <= 4096;
  if (!magic || !version || !check || !length) return Looks::kWrong;
  return header->length <= bytes.size() ? Looks::kPacket : Looks::kShort;
}

std::string WriteRecord(const NaiveRecord& record) {
  const int flags =
      (record.has_request_id ? 32 : 0) + (record.response ? 64 : 0) + (record.has_time ? 128 : 0);
  std::string bytes = NumberBytes(static_cast<std::uint64_t>(record.kind + flags), 1) +
                      NumberBytes(record.name.size(), 1) + NumberBytes(record.data.size(), 2);
  if (record.has_request_id) bytes += NumberBytes(record.request_id, 8);
  if (record.has_time) bytes += NumberBytes(record.time, 8);
  if (record.kind == 2) bytes += NumberBytes(record.total, 4);
  return bytes + record.name + record.data;
}

bool IsPadding(std::string_view bytes) {
  for (const char byte : bytes) {
    if (byte != 0) return false;
  }
  return true;
}

bool ReadRecord(std::string_view bytes, NaiveRecord* record) {
  if (bytes.size() < 4) return false;
  const auto first = static_cast<int>(NumberAt(bytes, 0, 1));
  record->kind = first % 32;
  record->has_request_id = first / 32 % 2 == 1;
  record->response = first / 64 % 2 == 1;
  record->has_time = first / 128 == 1;
  if (record->has_time && record->kind != 1 && record->kind != 2) return false;
  const bool part = record->kind >= 1 && record->kind <= 4;
  if (!part && (record->kind < 16 || record->kind > 22)) return false;
  const std::size_t name = NumberAt(bytes, 1, 1);
  const std::size_t data = NumberAt(bytes, 2, 2);
  if (name > 254) return false;
  std::size_t at = 4;
  record->size = at + (record->has_request_id ? 8 : 0) + (record->has_time ? 8 : 0) +
                 (record->kind == 2 ? 4 : 0) + name + data;
  if (record->size > bytes.size()) return false;
  record->request_id = 0;
  if (record->has_request_id) {
    record->request_id = NumberAt(bytes, at, 8);
    at += 8;
    if (record->request_id == 0) return false;
  }
  record->time = 0;
  if (record->has_time) {
    record->time = NumberAt(bytes, at, 8);
    at += 8;
  }
  record->total = 0;
  if (record->kind == 2) {
    record->total = NumberAt(bytes, at, 4);
    at += 4;
  }
  record->name = bytes.substr(at, name);
  record->data = bytes.substr(at + name, data);
  return true;
}

}  // namespace alertpipe::fuzz
