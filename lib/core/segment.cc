// SPDX-License-Identifier: Apache-2.0
#include "core/segment.h"

#include <algorithm>
#include <new>
#include <utility>

#include "core/memory.h"

namespace alertpipe::core {
namespace {

template <typename T, typename... Args>
T* NewIn(Args&&... args) {
  void* block = memory_calls().allocate(sizeof(T));
  return block == nullptr ? nullptr : new (block) T(std::forward<Args>(args)...);
}

}  // namespace

SharedData* SharedData::Create(Buffer* data, Meter* meter) {
  void* block = memory_calls().allocate(sizeof(SharedData));
  if (block == nullptr) return nullptr;
  return new (block) SharedData(std::move(*data), meter);
}

void SharedData::AddRef() {
  ++refs_;
  Charge();
}

void SharedData::Charge() {
  if (charged_) return;
  charged_ = true;
  meter_->ChargeQueued(data_.size());
}

void SharedData::Release() {
  if (--refs_ > 0) return;
  if (charged_) meter_->ReleaseQueued(data_.size());
  this->~SharedData();
  memory_calls().free(this);
}

SegmentPool::~SegmentPool() {
  while (packets_ != nullptr) {
    Packet* packet = packets_;
    packets_ = static_cast<Packet*>(packet->next);
    memory_calls().free(packet);
  }
}

Packet* SegmentPool::GetPacket() {
  Packet* packet = packets_;
  if (packet != nullptr) {
    packets_ = static_cast<Packet*>(packet->next);
    kept_least_ = std::min(kept_least_, --kept_);
  } else {
    packet = NewIn<Packet>();
    if (packet == nullptr) return nullptr;
  }
  packet->next = nullptr;
  meter_->ChargeQueued(kPacketBytesMax);
  return packet;
}

Bulk* SegmentPool::GetBulk() { return NewIn<Bulk>(); }

void SegmentPool::Put(Segment* segment) {
  if (segment->kind == Segment::Kind::kBulk) {
    auto* bulk = static_cast<Bulk*>(segment);
    if (bulk->data != nullptr) bulk->data->Release();
    memory_calls().free(bulk);
    return;
  }
  auto* packet = static_cast<Packet*>(segment);
  meter_->ReleaseQueued(kPacketBytesMax);
  if (kept_ >= kPacketsKeptMax) {
    memory_calls().free(packet);
    return;
  }
  packet->next = packets_;
  packets_ = packet;
  ++kept_;
}

void SegmentPool::Trim() {
  for (int spare = (kept_least_ - kPacketsKeptAlways + 1) / 2; spare > 0; --spare) {
    Packet* packet = packets_;
    packets_ = static_cast<Packet*>(packet->next);
    memory_calls().free(packet);
    --kept_;
  }
  kept_least_ = kept_;
}

}  // namespace alertpipe::core
