// SPDX-License-Identifier: Apache-2.0
//
// Packets by hand, for tests of what a hostile or broken relative can write.
#ifndef ALERTPIPE_TEST_PROCESS_FORGER_H_
#define ALERTPIPE_TEST_PROCESS_FORGER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <alertpipe/alertpipe.h>

#include "core/packet.h"

namespace alertpipe::process {

// What a relative could write that claims to be `source`. It does not have to keep the order of the
// sequence numbers, but does, so that nothing else is wrong with its packets.
class Forger {
 public:
  Forger(const Peer& source, std::uint32_t destination_generation) {
    header_.source_slot = static_cast<std::uint16_t>(source.slot);
    header_.source_generation = source.generation;
    header_.source_pid = static_cast<std::uint32_t>(source.pid);
    header_.destination_generation = destination_generation;
    header_.sequence = 1;
  }

  std::string Packet(const core::Record& record) {
    const std::size_t body =
        core::RecordSize(record.kind, record.flags, record.name.size(), record.data.size());
    header_.bytes = static_cast<std::uint16_t>(core::kHeaderBytes + body);
    std::string packet(header_.bytes, '\0');
    core::EncodeHeader(header_, packet.data());
    core::EncodeRecord(record, packet.data() + core::kHeaderBytes);
    if (record.starts_alert()) ++header_.sequence;
    return packet;
  }
  std::string Whole(std::string_view name, std::string_view data) {
    return Packet(Make(core::RecordKind::kWhole, name, data, 0));
  }
  std::string First(std::string_view name, std::string_view data, std::uint32_t total) {
    return Packet(Make(core::RecordKind::kFirst, name, data, total));
  }
  std::string Part(core::RecordKind kind, std::string_view data, std::string_view name = {}) {
    return Packet(Make(kind, name, data, 0));
  }

  // What the next packet's header says.
  core::PacketHeader& header() { return header_; }
  // A packet with any bytes for a body; its sequence number is the next one's, too.
  std::string Raw(std::string_view body) {
    header_.bytes = static_cast<std::uint16_t>(core::kHeaderBytes + body.size());
    std::string packet(header_.bytes, '\0');
    core::EncodeHeader(header_, packet.data());
    packet.replace(core::kHeaderBytes, body.size(), body);
    return packet;
  }
  template <typename Body>
  std::string Control(core::RecordKind kind, const Body& body) {
    char bytes[Body::kBytes];
    body.Encode(bytes);
    return Part(kind, std::string_view(bytes, sizeof bytes));
  }

 private:
  static core::Record Make(core::RecordKind kind, std::string_view name, std::string_view data,
                           std::uint32_t total) {
    core::Record record;
    record.kind = kind;
    record.name = name;
    record.data = data;
    record.total_bytes = total;
    return record;
  }

  core::PacketHeader header_;
};

}  // namespace alertpipe::process

#endif  // ALERTPIPE_TEST_PROCESS_FORGER_H_
