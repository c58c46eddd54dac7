// SPDX-License-Identifier: Apache-2.0
//
// A hostile relative: it has the write ends of all pipes and puts there what it likes, bytes
// without sense as well as packets in good form that lie about everything they can. Whoever reads
// that is a victim: its accounts are exempt, its memory and all other accounts are not.
#include <algorithm>
#include <string>

#include <absl/strings/str_cat.h>

#include "core/packet.h"
#include "sim/world.h"

namespace alertpipe::sim {
namespace {

std::string Noise(Random* random, std::size_t bytes) {
  std::string noise(bytes, '\0');
  for (char& c : noise) c = static_cast<char>(random->Below(256));
  return noise;
}

core::Record ForgedRecord(Random* random, std::string* name, std::string* data) {
  constexpr core::RecordKind kKinds[] = {
      core::RecordKind::kWhole,       core::RecordKind::kFirst,     core::RecordKind::kMiddle,
      core::RecordKind::kLast,        core::RecordKind::kReject,    core::RecordKind::kJoined,
      core::RecordKind::kDied,        core::RecordKind::kDraining,  core::RecordKind::kBarrier,
      core::RecordKind::kAcknowledge, core::RecordKind::kUnhandled,
  };
  core::Record record;
  record.kind = kKinds[random->Below(11)];
  if (random->Chance(3)) {
    record.flags = core::kHasRequestId;
    record.request_id = random->Chance(2) ? random->Below(4) : random->Next();
    if (random->Chance(2)) record.flags |= core::kIsResponse;
  }
  record.total_bytes =
      random->Chance(2) ? static_cast<std::uint32_t>(random->Next()) : random->Below(9000);
  if (random->Chance(2)) *name = Noise(random, random->Below(256));
  if (record.is_control()) {
    // A body of the right length, mostly, whose numbers are small enough to mean somebody.
    constexpr std::size_t kBodies[] = {17, 10, 6, 8, 8, 8, 8};
    const auto kind = static_cast<std::size_t>(record.kind) - 16;
    data->assign(random->Chance(8) ? random->Below(40) : kBodies[kind], '\0');
    for (std::size_t at = 0; at < data->size(); at += 2)
      (*data)[at] = static_cast<char>(random->Below(random->Chance(2) ? 4 : 256));
  } else {
    *data = Noise(random, random->Below(random->Chance(4) ? 3000 : 60));
  }
  record.name = *name;
  record.data = *data;
  return record;
}

}  // namespace

std::string World::ForgedPacket(int slot) {
  core::PacketHeader header;
  const int source = random_.Pick(0, slots() + (random_.Chance(8) ? 3 : -1));
  header.source_slot = static_cast<std::uint16_t>(source);
  header.source_generation = source < slots() ? word(source).generation : 1;
  if (random_.Chance(6))
    header.source_generation += static_cast<std::uint32_t>(random_.Pick(-1, 2));
  header.source_pid = random_.Below(200);
  header.destination_generation = word(slot).generation;
  if (random_.Chance(6))
    header.destination_generation += static_cast<std::uint32_t>(random_.Pick(-1, 1));
  header.lane = random_.Chance(16) ? 1 : 0;
  header.sequence = random_.Chance(2) ? random_.Below(40) : random_.Next();
  std::string packet(core::kHeaderBytes, '\0');
  for (int records = random_.Pick(1, 3); records > 0; --records) {
    std::string name;
    std::string data;
    const core::Record record = ForgedRecord(&random_, &name, &data);
    const std::size_t size = core::RecordSize(record.kind, record.flags, name.size(), data.size());
    if (packet.size() + size > core::kPacketBytesMax) break;
    packet.resize(packet.size() + size);
    core::EncodeRecord(record, packet.data() + packet.size() - size);
  }
  header.bytes = static_cast<std::uint16_t>(packet.size());
  core::EncodeHeader(header, packet.data());
  // Cut short: framing is lost for whoever comes next.
  if (random_.Chance(4))
    packet.resize(1 + random_.Below(static_cast<std::uint32_t>(packet.size())));
  return packet;
}

void World::Garbage() {
  const int slot = static_cast<int>(random_.Below(static_cast<std::uint32_t>(slots())));
  if (!HasReader(slot)) return;
  // One write, or as many as the pipe takes.
  for (int writes = random_.Chance(8) ? 64 : 1; writes > 0; --writes) {
    const std::string bytes =
        random_.Chance(4) ? Noise(&random_, 1 + random_.Below(4096)) : ForgedPacket(slot);
    const std::size_t taken = pipe(slot).Write(bytes);
    if (taken == 0) break;
    seat(slot).written += taken;
    seat(slot).garbage_until = seat(slot).written;
    ++census_->garbage;
    if (trace_) Trace(absl::StrCat("garbage of ", bytes.size(), " bytes for slot ", slot));
  }
  if (Process* reader = seat(slot).process.get()) Wake(reader);
}

}  // namespace alertpipe::sim
