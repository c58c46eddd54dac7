// SPDX-License-Identifier: Apache-2.0
#include "core/events/order_publisher.h"

#include <algorithm>

namespace alertpipe::core {

void OrderPublisher::Sent(int slot, std::uint32_t generation, std::uint64_t alert_id) {
  Receiver& receiver = receivers_[static_cast<std::size_t>(slot)];
  if (receiver.generation != generation) receiver = {generation, 0, 0, false};
  receiver.latest = alert_id;
}

void OrderPublisher::Close() {
  if (closed() || numbered_ == claimed_) return;
  closed_ = numbered_;
  for (Receiver& receiver : receivers_) {
    receiver.closing = receiver.latest;
    receiver.latest = 0;
  }
}

bool OrderPublisher::HasLeft(const Endpoint& endpoint) {
  bool all = true;
  for (std::size_t slot = 0; slot < receivers_.size(); ++slot) {
    Receiver& receiver = receivers_[slot];
    const int number = static_cast<int>(slot);
    receiver.lags = receiver.lags && !endpoint.AllWritten(number);
    if (receiver.closing == 0) continue;
    if (endpoint.HasLeft(number, receiver.generation, receiver.closing)) {
      receiver.closing = 0;
    } else if (!receiver.lags) {
      all = false;
    }
  }
  return all;
}

void OrderPublisher::StopWaiting(const Endpoint& endpoint) {
  for (std::size_t slot = 0; slot < receivers_.size(); ++slot) {
    Receiver& receiver = receivers_[slot];
    if (receiver.closing == 0) continue;
    receiver.lags =
        !endpoint.HasLeft(static_cast<int>(slot), receiver.generation, receiver.closing);
  }
}

bool OrderPublisher::Step() {
  if (!closed()) return false;
  if (!claiming_) {
    claiming_ = true;
    const std::uint64_t count = std::min<std::uint64_t>(closed_ - claimed_, OrderWord::kCountMax);
    claim_ = OrderRing::Claim();
    claim_.word.slot = static_cast<std::uint32_t>(self_.slot);
    claim_.word.generation = self_.generation;
    claim_.word.count = static_cast<std::uint32_t>(count);
    claim_.word.last = static_cast<std::uint32_t>(claimed_ + count);
  }
  if (ring_.Step(&claim_)) return true;
  claiming_ = false;
  claimed_ += claim_.word.count;
  return closed();
}

}  // namespace alertpipe::core
