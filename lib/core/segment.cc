// SPDX-License-Identifier: Apache-2.0
#include "core/segment.h"

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

void SharedData::AddRef(std::size_t bytes) {
  ++refs_;
  Charge(bytes);
}

void SharedData::Charge(std::size_t bytes) {
  if (charged_ != 0) return;
  charged_ = bytes;
  meter_->ChargeQueued(bytes);
}

void SharedData::Release() {
  if (--refs_ > 0) return;
  meter_->ReleaseQueued(charged_);
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
  if (packets_ == nullptr) return NewIn<Packet>();
  Packet* packet = packets_;
  packets_ = static_cast<Packet*>(packet->next);
  --kept_;
  packet->next = nullptr;
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
  if (kept_ >= kPacketsKept) {
    memory_calls().free(packet);
    return;
  }
  packet->next = packets_;
  packets_ = packet;
  ++kept_;
}

}  // namespace alertpipe::core
