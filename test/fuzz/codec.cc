// SPDX-License-Identifier: Apache-2.0
//
// The codec both ways, beside the naive one. Any bytes: both read the same from them, and what was
// read is written as the same bytes again. Any values: both write the same bytes, and read the
// values back. Nothing is ever read or written outside the bytes that are there (each input is a
// block of its own, so that AddressSanitizer sees it).
#include <cstring>
#include <memory>

#include "core/packet.h"
#include "fuzz.h"
#include "naive_wire.h"

namespace alertpipe::fuzz {

const char* const kTargetName = "codec";
const std::vector<const char*> kCanaries = {
    "a name is taken to be as long as it says",
    "the check of a header is not compared",
    "the total of a first record is not skipped",
};

namespace {

enum Defect : int { kTrustsName = 1, kIgnoresCheck, kForgetsTotal };

// The same bytes in a block that ends where they end.
class Exact {
 public:
  explicit Exact(std::string_view bytes) : bytes_(new char[bytes.size()]), size_(bytes.size()) {
    if (size_ > 0) std::memcpy(bytes_.get(), bytes.data(), size_);
  }
  std::string_view view() const { return std::string_view(bytes_.get(), size_); }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_;
};

// ---- Any bytes

Looks ReadNaively(std::string_view bytes, NaiveHeader* header) {
  if (planted != kIgnoresCheck || bytes.size() < 32) return ReadHeader(bytes, header);
  std::string good(bytes);
  ReadHeader(bytes, header);
  good.replace(0, 32, WriteHeader(*header));
  return ReadHeader(good, header);
}

void CheckHeader(std::string_view bytes) {
  core::PacketHeader header;
  NaiveHeader naive;
  const core::Framing framing = core::DecodePacket(bytes, &header);
  const Looks looks = ReadNaively(bytes, &naive);
  Require((framing == core::Framing::kPacket) == (looks == Looks::kPacket), "is it a packet?");
  Require((framing == core::Framing::kBroken) == (looks == Looks::kWrong), "is it broken?");
  if (framing != core::Framing::kPacket) return;
  RequireEqual(header.bytes, naive.length, "length");
  RequireEqual(header.source_slot, naive.source_slot, "slot");
  RequireEqual(header.lane, naive.lane, "lane");
  RequireEqual(header.source_generation, naive.source_generation, "generation");
  RequireEqual(header.source_pid, naive.source_pid, "pid");
  RequireEqual(header.destination_generation, naive.destination_generation, "destination");
  RequireEqual(header.sequence, naive.sequence, "sequence");
  char again[core::kHeaderBytes];
  core::EncodeHeader(header, again);
  Require(bytes.substr(0, sizeof again) == std::string_view(again, sizeof again),
          "the header is not the same when it is written again");
}

bool ReadNaively(std::string_view bytes, NaiveRecord* record) {
  const bool good = ReadRecord(bytes, record);
  if (planted == kForgetsTotal && good && record->kind == 2) {
    const std::size_t at = 4 + (record->has_request_id ? 8 : 0) + (record->has_time ? 8 : 0);
    record->name = bytes.substr(at, record->name.size());
  }
  if (planted == kTrustsName && !good && bytes.size() >= 4) {
    record->name = std::string(NumberAt(bytes, 1, 1), 'n');
    record->data.clear();
    record->size = bytes.size();
    return record->name.size() > bytes.size();
  }
  return good;
}

template <typename Body>
void CheckBody(std::string_view data) {
  Body body;
  const bool decoded = body.Decode(data);
  Require(decoded == (data.size() == Body::kBytes), "a control body of another length");
  if (!decoded) return;
  char again[Body::kBytes];
  body.Encode(again);
  Require(data == std::string_view(again, sizeof again), "a control body is not the same again");
}

void CheckBodies(std::string_view data) {
  CheckBody<core::RejectBody>(data);
  CheckBody<core::JoinedBody>(data);
  CheckBody<core::DiedBody>(data);
  CheckBody<core::DrainingBody>(data);
  CheckBody<core::UnhandledBody>(data);
  CheckBody<core::BarrierBody>(data);
}

void CheckSame(const core::Record& record, const NaiveRecord& naive) {
  RequireEqual(static_cast<int>(record.kind), naive.kind, "kind");
  RequireEqual((record.flags & core::kHasRequestId) != 0, naive.has_request_id, "request flag");
  RequireEqual((record.flags & core::kIsResponse) != 0, naive.response, "response flag");
  RequireEqual(record.request_id, naive.request_id, "request id");
  RequireEqual((record.flags & core::kHasTime) != 0, naive.has_time, "time flag");
  RequireEqual(record.sent_ns, naive.time, "time");
  RequireEqual(record.total_bytes, naive.total, "total");
  RequireEqual(record.is_control(), naive.control(), "control");
  RequireEqual(record.starts_alert(), naive.starts(), "starts");
  RequireEqual(record.ends_alert(), naive.kind == 1 || naive.kind == 4, "ends");
  Require(record.name == naive.name, "the names differ");
  Require(record.data == naive.data, "the data differ");
}

// The short way of the common case.
void CheckPlain(core::RecordReader* reader, bool good, const NaiveRecord& naive) {
  const std::size_t before = reader->rest_bytes();
  std::string_view name;
  std::string_view data;
  const bool is_plain =
      good && naive.kind == 1 && !naive.has_request_id && !naive.response && !naive.has_time;
  RequireEqual(reader->NextPlain(&name, &data), is_plain, "is it a plain record?");
  RequireEqual(before - reader->rest_bytes(), is_plain ? naive.size : 0, "bytes of a plain record");
  if (!is_plain) return;
  Require(name == naive.name && data == naive.data, "a plain record is another");
}

void CheckRecords(std::string_view body) {
  core::RecordReader reader(body);
  core::Record record;
  while (true) {
    RequireEqual(reader.rest_bytes(), body.size(), "bytes that are left");
    RequireEqual(reader.done(), body.empty(), "done");
    core::RecordReader plain = reader;
    const core::RecordReader::Step step = reader.Next(&record);
    Require((step == core::RecordReader::Step::kEnd) == IsPadding(body), "is it the end?");
    NaiveRecord naive;
    const bool good = !IsPadding(body) && ReadNaively(body, &naive);
    CheckPlain(&plain, good, naive);
    if (IsPadding(body)) return;
    Require((step == core::RecordReader::Step::kRecord) == good, "is it a record?");
    if (!good) return;
    CheckSame(record, naive);
    Require(record.name.data() >= body.data() && record.data.data() >= record.name.data() &&
                record.data.data() + record.data.size() <= body.data() + naive.size,
            "a view lies outside of its record");
    const std::size_t size =
        core::RecordSize(record.kind, record.flags, record.name.size(), record.data.size());
    RequireEqual(size, naive.size, "size");
    const std::unique_ptr<char[]> again(new char[size]);
    RequireEqual(core::EncodeRecord(record, again.get()), size, "bytes written");
    Require(std::string_view(again.get(), size) == body.substr(0, size),
            "a record is not the same when it is written again");
    CheckBodies(record.data);
    body.remove_prefix(size);
  }
}

// ---- Any values

core::PacketHeader MakeHeader(Input* input, NaiveHeader* naive) {
  core::PacketHeader header;
  header.bytes = static_cast<std::uint16_t>(input->Number(2));
  header.source_slot = static_cast<std::uint16_t>(input->Number(2));
  header.lane = input->Byte();
  header.source_generation = static_cast<std::uint32_t>(input->Number(4));
  header.source_pid = static_cast<std::uint32_t>(input->Number(4));
  header.destination_generation = static_cast<std::uint32_t>(input->Number(4));
  header.sequence = input->Number(8);
  *naive = {header.bytes,      header.source_slot,
            header.lane,       header.source_generation,
            header.source_pid, header.destination_generation,
            header.sequence};
  return header;
}

void WriteAnyHeader(Input* input) {
  NaiveHeader naive;
  const core::PacketHeader header = MakeHeader(input, &naive);
  const std::unique_ptr<char[]> block(new char[core::kHeaderBytes]);
  core::EncodeHeader(header, block.get());
  const std::string_view bytes(block.get(), core::kHeaderBytes);
  Require(bytes == WriteHeader(naive), "a header is written in another way");
  const Exact packet(std::string(bytes) + std::string(header.bytes, 'x'));
  CheckHeader(packet.view());
}

void WriteAnyRecord(Input* input) {
  static constexpr int kKinds[] = {1, 2, 3, 4, 16, 17, 18, 19, 20, 21, 22};
  NaiveRecord naive;
  naive.kind = input->OneOf(kKinds);
  const std::uint8_t flags = input->Byte();
  naive.response = (flags & 1) != 0;
  naive.request_id = (flags & 2) != 0 ? input->Number(8) : 0;
  naive.has_request_id = naive.request_id != 0;
  if (naive.kind == 2) naive.total = input->Number(4);
  naive.name = input->Bytes(input->Byte() % 255);
  naive.data = input->Bytes(input->Number(2) % 4060);
  core::Record record;
  record.kind = static_cast<core::RecordKind>(naive.kind);
  record.flags = static_cast<std::uint8_t>((naive.has_request_id ? core::kHasRequestId : 0) |
                                           (naive.response ? core::kIsResponse : 0));
  record.request_id = naive.request_id;
  record.total_bytes = static_cast<std::uint32_t>(naive.total);
  record.name = naive.name;
  record.data = naive.data;
  const std::size_t size =
      core::RecordSize(record.kind, record.flags, naive.name.size(), naive.data.size());
  const std::unique_ptr<char[]> block(new char[size]);
  RequireEqual(core::EncodeRecord(record, block.get()), size, "bytes written");
  const std::string_view bytes(block.get(), size);
  Require(bytes == WriteRecord(naive), "a record is written in another way");
  const std::unique_ptr<char[]> head(new char[size - naive.data.size()]);
  RequireEqual(core::EncodeRecordHead(record, naive.data.size(), head.get()),
               size - naive.data.size(), "bytes of the head");
  Require(std::memcmp(head.get(), block.get(), size - naive.data.size()) == 0, "the head differs");
  CheckRecords(bytes);
}

template <typename Body>
std::string Encoded(const Body& body) {
  char bytes[Body::kBytes];
  body.Encode(bytes);
  return std::string(bytes, sizeof bytes);
}

void WriteAnyBody(Input* input) {
  const std::uint64_t a = input->Number(8);
  const std::uint64_t b = input->Number(8);
  const auto short_a = static_cast<std::uint16_t>(a);
  const auto half_b = static_cast<std::uint32_t>(b);
  const auto high_b = static_cast<std::uint32_t>(b >> 32);
  const auto small = static_cast<std::uint8_t>(b);
  Require(Encoded(core::RejectBody{a, b, small}) ==
              NumberBytes(a, 8) + NumberBytes(b, 8) + NumberBytes(small, 1),
          "reject");
  Require(Encoded(core::JoinedBody{short_a, half_b, high_b}) ==
              NumberBytes(short_a, 2) + NumberBytes(half_b, 4) + NumberBytes(high_b, 4),
          "joined");
  Require(
      Encoded(core::DiedBody{short_a, half_b}) == NumberBytes(short_a, 2) + NumberBytes(half_b, 4),
      "died");
  Require(Encoded(core::DrainingBody{short_a, half_b, small}) ==
              NumberBytes(short_a, 2) + NumberBytes(half_b, 4) + NumberBytes(small, 2),
          "draining");
  Require(Encoded(core::UnhandledBody{a}) == NumberBytes(a, 8), "unhandled");
  Require(Encoded(core::BarrierBody{b}) == NumberBytes(b, 8), "barrier");
}

enum Part : std::uint8_t { kAnyPacket, kAnyRecords, kHeaderOf, kRecordOf, kBodyOf, kParts };

}  // namespace

void RunOne(std::string_view bytes) {
  Input input(bytes);
  switch (static_cast<Part>(input.Pick(kParts))) {
    case kAnyPacket: {
      const Exact packet(input.Bytes(bytes.size()));
      CheckHeader(packet.view());
      return;
    }
    case kAnyRecords: {
      const Exact body(input.Bytes(bytes.size()));
      CheckRecords(body.view());
      CheckBodies(body.view());
      return;
    }
    case kHeaderOf:
      return WriteAnyHeader(&input);
    case kRecordOf:
      while (!input.empty()) WriteAnyRecord(&input);
      return;
    case kBodyOf:
      return WriteAnyBody(&input);
    case kParts:
      return;
  }
}

std::vector<Seed> Seeds() {
  NaiveHeader header;
  header.length = 36;
  header.source_slot = 2;
  header.source_generation = 3;
  header.source_pid = 1002;
  header.destination_generation = 5;
  header.sequence = 7;
  NaiveRecord whole;
  whole.kind = 1;
  whole.name = "name";
  whole.data = "data";
  NaiveRecord first = whole;
  first.kind = 2;
  first.total = 10;
  first.has_request_id = true;
  first.request_id = 77;
  NaiveRecord last;
  last.kind = 4;
  last.data = "rest";
  NaiveRecord reject;
  reject.kind = 16;
  reject.name = "name";
  reject.data = NumberBytes(1, 8) + NumberBytes(0, 8) + NumberBytes(1, 1);
  std::string records;
  for (const NaiveRecord& record : {whole, first, last, reject}) records += WriteRecord(record);
  std::string controls;
  const std::size_t body_bytes[] = {17, 10, 6, 8, 8, 8, 8};
  for (int kind = 16; kind <= 22; ++kind) {
    NaiveRecord record;
    record.kind = kind;
    record.data = std::string(body_bytes[kind - 16], '\1');
    controls += WriteRecord(record);
  }
  return {
      {"packet", Script()(kAnyPacket).Text(WriteHeader(header) + WriteRecord(NaiveRecord())).str()},
      {"records", Script()(kAnyRecords).Text(records).str()},
      {"controls", Script()(kAnyRecords).Text(controls).str()},
      {"any_header", Script()(kHeaderOf)
                         .Number(40, 2)
                         .Number(3, 2)(0)
                         .Number(1, 4)
                         .Number(2, 4)
                         .Number(3, 4)
                         .Number(4, 8)
                         .str()},
      {"any_record", Script()(kRecordOf)(0, 0, 2).Text("nm").Number(3, 2).Text("abc").str()},
      {"any_first", Script()(kRecordOf)(1, 3)
                        .Number(9, 8)
                        .Number(100, 4)(1)
                        .Text("n")
                        .Number(2, 2)
                        .Text("ab")
                        .str()},
      {"any_body", Script()(kBodyOf).Number(0x1122334455667788, 8).Number(9, 8).str()},
  };
}

}  // namespace alertpipe::fuzz
