// SPDX-License-Identifier: Apache-2.0
#include "core/undelivered_reader.h"

#include <cstring>

namespace alertpipe::core {

UndeliveredReader::UndeliveredReader(const FailedRun& run, SegmentPool* pool)
    : pool_(pool), current_(run.head) {
  if (run.open) alert_ = run.open_alert;
}

UndeliveredReader::~UndeliveredReader() {
  while (current_ != nullptr) DropCurrent();
  if (bulk_ != nullptr) pool_->Put(bulk_);
}

void UndeliveredReader::DropCurrent() {
  Segment* segment = current_;
  current_ = segment->next;
  entered_ = false;
  pool_->Put(segment);
}

void UndeliveredReader::Enter(Segment* segment) {
  entered_ = true;
  const auto* packet = static_cast<const Packet*>(segment);
  records_ = RecordReader(packet->body());
  next_id_ = packet->sequence;
}

bool UndeliveredReader::TakeRecord(Item* item) {
  Record record;
  if (records_.Next(&record) != RecordReader::Step::kRecord) return false;
  if (record.kind == RecordKind::kFirst) {
    alert_ = {ShortName(record.name), record.flags, record.request_id};
    first_here_ = true;
    joined_bytes_ = record.data.size();
    std::memcpy(joined_, record.data.data(), record.data.size());
    ++next_id_;
    return false;
  }
  if (record.kind == RecordKind::kWhole) {
    *item = {next_id_++, record.name, record.data, true, record.flags, record.request_id};
    return true;
  }
  item->alert_id = next_id_ - 1;
  item->name = alert_.name.view();
  item->flags = alert_.flags;
  item->request_id = alert_.request_id;
  item->has_data = bulk_ != nullptr ? bulk_->whole : first_here_;
  item->data = std::string_view();
  if (item->has_data && bulk_ != nullptr) {
    item->data = bulk_->view;
  } else if (item->has_data) {
    std::memcpy(joined_ + joined_bytes_, record.data.data(), record.data.size());
    item->data = std::string_view(joined_, joined_bytes_ + record.data.size());
  }
  first_here_ = false;
  return true;
}

bool UndeliveredReader::Next(Item* item) {
  // The alert given last has been used by now. It was the last user of the bulk; records that
  // follow need none.
  if (bulk_ != nullptr) {
    pool_->Put(bulk_);
    bulk_ = nullptr;
  }
  while (current_ != nullptr) {
    if (current_->kind == Segment::Kind::kBulk) {
      bulk_ = static_cast<Bulk*>(current_);
      alert_ = bulk_->alert;
      current_ = current_->next;
      continue;
    }
    if (!entered_) Enter(current_);
    while (!records_.done()) {
      if (TakeRecord(item)) return true;
    }
    DropCurrent();
  }
  return false;
}

}  // namespace alertpipe::core
