// SPDX-License-Identifier: Apache-2.0
//
// What the protocol costs without any system call.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/endpoint.h"
#include "core/handler_table.h"
#include "core/inbox.h"
#include "core/outbox.h"
#include "core/packet.h"
#include "core/roster.h"

namespace alertpipe::core {
namespace {

constexpr std::size_t kCapacity = 262144;

// A roster of `slots` live incarnations of generation 1; slot i has pid 1000 + i.
class LiveRoster {
 public:
  explicit LiveRoster(std::uint32_t slots)
      : memory_(std::aligned_alloc(64, (RosterMemory::Bytes(slots) + 63) / 64 * 64), std::free) {
    std::memset(memory_.get(), 0, RosterMemory::Bytes(slots));
    RosterWriter writer(static_cast<RosterMemory*>(memory_.get()));
    FamilySettings settings;
    settings.slots = slots;
    settings.runs = 1;
    settings.pipe_capacity = kCapacity;
    settings.alert_bytes_max = kDataBytesMax;
    settings.reassembly_bytes_max = std::uint64_t{1} << 30;
    settings.queued_bytes_per_peer_max = 4194304;
    settings.queued_bytes_max = 67108864;
    writer.Settle(settings);
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
      writer.Publish(static_cast<int>(slot), {1, 1000 + slot, SlotState::kUp});
    }
  }
  Roster roster() const { return Roster(static_cast<const RosterMemory*>(memory_.get())); }

 private:
  std::unique_ptr<void, void (*)(void*)> memory_;
};

PacketHeader HeaderTemplate() {
  PacketHeader header;
  header.source_slot = 2;
  header.source_generation = 1;
  header.source_pid = 1002;
  header.destination_generation = 1;
  return header;
}

// Appends the next piece of what an outbox would write, until `bytes` are reached.
std::string StreamOf(const std::string& data, std::size_t bytes, std::uint64_t* alerts) {
  CounterPage page;
  Meter meter(&page);
  SegmentPool pool(&meter);
  Outbox outbox;
  outbox.Address(HeaderTemplate());
  const Content content{"name", data, 0, 0};
  std::string stream;
  *alerts = 0;
  while (outbox.queued_bytes() + data.size() < bytes) {
    const bool queued = content.fits_packet() ? outbox.AppendSmall(content, &pool)
                                              : outbox.AppendLarge(content, nullptr, &pool);
    if (!queued) std::abort();
    ++*alerts;
  }
  iovec parts[Outbox::kPartsMax];
  while (const int count = outbox.Gather(parts, 1, false)) {
    std::size_t written = 0;
    for (int i = 0; i < count; ++i) {
      stream.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
      written += parts[i].iov_len;
    }
    outbox.Advance(written, &pool, &meter);
  }
  return stream;
}

void BM_EncodeRecords(benchmark::State& state) {
  const std::string data(static_cast<std::size_t>(state.range(0)), 'x');
  char packet[kPacketBytesMax];
  Record record;
  record.name = "name";
  record.data = data;
  const std::size_t size = RecordSize(record.kind, 0, record.name.size(), data.size());
  std::int64_t records = 0;
  while (state.KeepRunning()) {
    std::size_t used = kHeaderBytes;
    for (; used + size <= kPacketBytesMax; ++records) used += EncodeRecord(record, packet + used);
    PacketHeader header = HeaderTemplate();
    header.bytes = static_cast<std::uint16_t>(used);
    EncodeHeader(header, packet);
    benchmark::DoNotOptimize(packet);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(records);
}
BENCHMARK(BM_EncodeRecords)->Arg(10)->Arg(1000);

// One full packet.
void BM_DecodeRecords(benchmark::State& state) {
  std::uint64_t alerts = 0;
  const std::string data(static_cast<std::size_t>(state.range(0)), 'x');
  const std::string packets = StreamOf(data, 2 * kPacketBytesMax, &alerts);
  std::int64_t records = 0;
  while (state.KeepRunning()) {
    PacketHeader header;
    if (DecodePacket(packets, &header) != Framing::kPacket) std::abort();
    RecordReader reader(
        std::string_view(packets).substr(kHeaderBytes, header.bytes - kHeaderBytes));
    Record record;
    while (reader.Next(&record) == RecordReader::Step::kRecord) {
      benchmark::DoNotOptimize(record);
      ++records;
    }
  }
  state.SetItemsProcessed(records);
}
BENCHMARK(BM_DecodeRecords)->Arg(10)->Arg(1000);

// A handler is looked up by name and called, with a number of names to choose from.
void BM_Dispatch(benchmark::State& state) {
  HandlerTable table;
  std::vector<std::string> names;
  std::uint64_t calls = 0;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    names.push_back("name" + std::to_string(i));
    table.Set(names.back(), [&calls](Alert&) { ++calls; });
  }
  // Only an endpoint makes an Alert, and the handler does not look at it.
  alignas(Alert) char memory[sizeof(Alert)] = {};
  Alert& alert = reinterpret_cast<Alert&>(memory);
  std::size_t next = 0;
  while (state.KeepRunning()) {
    Handler* handler = table.Begin(names[next]);
    (*handler)(alert);
    table.End();
    if (++next == names.size()) next = 0;
  }
  if (calls != static_cast<std::uint64_t>(state.iterations())) std::abort();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Dispatch)->Arg(1)->Arg(8)->Arg(64);

// A full pipe is read and handed out alert by alert.
void BM_Inbox(benchmark::State& state) {
  const LiveRoster roster(5);
  std::uint64_t alerts = 0;
  const std::string data(static_cast<std::size_t>(state.range(0)), 'x');
  const std::string stream = StreamOf(data, kCapacity * 9 / 10, &alerts);
  CounterPage page;
  Meter meter(&page);
  std::uint64_t seen = 0;
  while (state.KeepRunning()) {
    // A stream starts with the number 1, so each round needs an inbox that has heard nothing.
    state.PauseTiming();
    auto inbox = std::make_unique<Inbox>(roster.roster(), 1, &meter);
    if (!inbox->Allocate() || stream.size() >= inbox->space_bytes()) std::abort();
    std::memcpy(inbox->space(), stream.data(), stream.size());
    state.ResumeTiming();
    inbox->Received(stream.size());
    Arrival arrival;
    for (inbox->Next(&arrival); arrival.kind != Arrival::Kind::kNone; inbox->Next(&arrival)) {
      if (arrival.kind == Arrival::Kind::kAlert) ++seen;
    }
    state.PauseTiming();
    inbox.reset();
    state.ResumeTiming();
  }
  if (seen != alerts * static_cast<std::uint64_t>(state.iterations())) std::abort();
  state.SetItemsProcessed(static_cast<std::int64_t>(seen));
  state.SetBytesProcessed(static_cast<std::int64_t>(seen) * state.range(0));
}
BENCHMARK(BM_Inbox)->Arg(10)->Arg(1000)->Arg(10000)->Arg(100000);

// Send to a pid: always the same one, or a different one each time.
void BM_ResolvePid(benchmark::State& state) {
  const auto slots = static_cast<std::uint32_t>(state.range(0));
  const bool same = state.range(1) != 0;
  const LiveRoster roster(slots);
  const auto page = std::make_unique<CounterPage>();
  Peer self;
  self.slot = 1;
  self.generation = 1;
  self.pid = 1001;
  Endpoint endpoint(roster.roster(), self, page.get(), nullptr);
  std::uint32_t slot = slots - 1;
  while (state.KeepRunning()) {
    Target target;
    if (!endpoint.Resolve(static_cast<pid_t>(1000 + slot), &target).ok()) std::abort();
    benchmark::DoNotOptimize(target);
    if (!same) slot = (slot * 5 + 3) % slots;
  }
}
BENCHMARK(BM_ResolvePid)->ArgsProduct({{5, 21, 65, 4097}, {0, 1}});

// Send to a slot: the roster is looked at, nothing is searched.
void BM_ResolveSlot(benchmark::State& state) {
  const LiveRoster roster(65);
  const auto page = std::make_unique<CounterPage>();
  Peer self;
  self.slot = 1;
  self.generation = 1;
  self.pid = 1001;
  Endpoint endpoint(roster.roster(), self, page.get(), nullptr);
  while (state.KeepRunning()) {
    Target target;
    if (!endpoint.Resolve(To::Slot(7), &target).ok()) std::abort();
    benchmark::DoNotOptimize(target);
  }
}
BENCHMARK(BM_ResolveSlot);

// Queued until a packet is full, gathered, and taken by the kernel.
void BM_Outbox(benchmark::State& state) {
  const std::string data(static_cast<std::size_t>(state.range(0)), 'x');
  const Content content{"name", data, 0, 0};
  CounterPage page;
  Meter meter(&page);
  SegmentPool pool(&meter);
  Outbox outbox;
  outbox.Address(HeaderTemplate());
  iovec parts[Outbox::kPartsMax];
  while (state.KeepRunning()) {
    const bool queued = content.fits_packet() ? outbox.AppendSmall(content, &pool)
                                              : outbox.AppendLarge(content, nullptr, &pool);
    if (!queued) std::abort();
    // Data that is only lent has to leave at once.
    const bool full_only = content.fits_packet();
    while (const int count = outbox.Gather(parts, 2, full_only)) {
      std::size_t written = 0;
      for (int i = 0; i < count; ++i) written += parts[i].iov_len;
      outbox.Advance(written, &pool, &meter);
    }
  }
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * state.range(0));
  while (const int count = outbox.Gather(parts, 1, false)) {
    std::size_t written = 0;
    for (int i = 0; i < count; ++i) written += parts[i].iov_len;
    outbox.Advance(written, &pool, &meter);
  }
}
BENCHMARK(BM_Outbox)->Arg(10)->Arg(1000)->Arg(10000)->Arg(100000);

}  // namespace
}  // namespace alertpipe::core

BENCHMARK_MAIN();
