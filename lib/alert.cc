// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/alert.h>

#include <utility>

#include "core/grow_buffer.h"
#include "endpoint_impl.h"

namespace alertpipe {

absl::StatusOr<Buffer> Alert::TakeData() {
  if (collected_ == nullptr) {
    absl::StatusOr<Buffer> copy = Buffer::Copy(data_);
    if (copy.ok()) data_ = std::string_view();
    return copy;
  }
  data_ = std::string_view();
  return std::exchange(collected_, nullptr)->Take();
}

SendResult Alert::Reply(std::string_view name, std::string_view data) const {
  return endpoint_->Send(To(sender_), name, data, nullptr);
}

SendResult Alert::ReplyOwned(std::string_view name, Buffer data) const {
  return endpoint_->Send(To(sender_), name, {}, &data);
}

ReplyToken Alert::reply_token() const { return ReplyToken(endpoint_, sender_); }

ReplyToken::ReplyToken(std::weak_ptr<internal::EndpointImpl> endpoint, const Peer& sender)
    : endpoint_(std::move(endpoint)), sender_(sender) {}

namespace {

absl::Status EndpointIsGone() {
  return absl::FailedPreconditionError("the endpoint of this reply was destroyed");
}

}  // namespace

SendResult ReplyToken::Reply(std::string_view name, std::string_view data) const {
  const std::shared_ptr<internal::EndpointImpl> endpoint = endpoint_.lock();
  return endpoint == nullptr ? SendResult(EndpointIsGone())
                             : endpoint->Send(To(sender_), name, data, nullptr);
}

SendResult ReplyToken::ReplyOwned(std::string_view name, Buffer data) const {
  const std::shared_ptr<internal::EndpointImpl> endpoint = endpoint_.lock();
  return endpoint == nullptr ? SendResult(EndpointIsGone())
                             : endpoint->Send(To(sender_), name, {}, &data);
}

}  // namespace alertpipe
