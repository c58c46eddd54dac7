// SPDX-License-Identifier: Apache-2.0
//
// Packets of a test's own making: PacketBuilder(slot, generation, destination,
// sequence).Whole("name", "data").Bytes().
#ifndef ALERTPIPE_TEST_CORE_PACKET_BUILDER_H_
#define ALERTPIPE_TEST_CORE_PACKET_BUILDER_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "core/packet.h"

namespace alertpipe::core {

class PacketBuilder {
 public:
  PacketBuilder(int slot, std::uint32_t generation, std::uint32_t destination,
                std::uint64_t sequence) {
    header_.source_slot = static_cast<std::uint16_t>(slot);
    header_.source_generation = generation;
    header_.source_pid = 1000 + static_cast<std::uint32_t>(slot);
    header_.destination_generation = destination;
    header_.sequence = sequence;
  }

  PacketHeader& header() { return header_; }

  PacketBuilder& Whole(std::string_view name, std::string_view data) {
    Record record;
    record.kind = RecordKind::kWhole;
    record.name = name;
    record.data = data;
    return Add(record);
  }
  PacketBuilder& First(std::string_view name, std::uint64_t total, std::string_view data) {
    Record record;
    record.kind = RecordKind::kFirst;
    record.total_bytes = static_cast<std::uint32_t>(total);
    record.name = name;
    record.data = data;
    return Add(record);
  }
  PacketBuilder& Middle(std::string_view data) { return Part(RecordKind::kMiddle, data); }
  PacketBuilder& Last(std::string_view data) { return Part(RecordKind::kLast, data); }
  PacketBuilder& Part(RecordKind kind, std::string_view data) {
    Record record;
    record.kind = kind;
    record.data = data;
    return Add(record);
  }
  template <typename Body>
  PacketBuilder& Control(RecordKind kind, const Body& body, std::string_view name = {}) {
    char bytes[Body::kBytes];
    body.Encode(bytes);
    Record record;
    record.kind = kind;
    record.name = name;
    record.data = std::string_view(bytes, sizeof bytes);
    return Add(record);
  }
  PacketBuilder& Add(const Record& record) {
    const std::size_t size =
        RecordSize(record.kind, record.flags, record.name.size(), record.data.size());
    const std::size_t at = body_.size();
    body_.resize(at + size);
    EncodeRecord(record, body_.data() + at);
    return *this;
  }
  PacketBuilder& Raw(std::string_view bytes) {
    body_.append(bytes);
    return *this;
  }

  std::string Bytes() {
    std::string packet(kHeaderBytes, '\0');
    header_.bytes = static_cast<std::uint16_t>(kHeaderBytes + body_.size());
    EncodeHeader(header_, packet.data());
    return packet + body_;
  }

 private:
  PacketHeader header_;
  std::string body_;
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_TEST_CORE_PACKET_BUILDER_H_
