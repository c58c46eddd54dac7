// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/alert.h>

#include <utility>

#include "core/grow_buffer.h"
#include "endpoint_impl.h"

namespace alertpipe {

absl::StatusOr<Buffer> Alert::TakeData() { return core::TakeData(&data_, &collected_); }

SendResult Alert::Reply(std::string_view name, std::string_view data) const {
  return endpoint_->Send(To(sender_), name, data, nullptr);
}

SendResult Alert::ReplyOwned(std::string_view name, Buffer data) const {
  return endpoint_->Send(To(sender_), name, {}, &data);
}

SendResult Alert::Respond(std::string_view data) { return Complete(data, nullptr); }
SendResult Alert::RespondOwned(Buffer data) { return Complete({}, &data); }

SendResult Alert::Complete(std::string_view data, Buffer* owned) {
  if (request_id_ == 0) {
    return absl::FailedPreconditionError(is_request_
                                             ? "this request has been completed, or its token taken"
                                             : "this alert is no request: its sender waits for "
                                               "nothing (Reply sends it an alert)");
  }
  SendResult result = endpoint_->Respond(sender_, request_id_, data, owned);
  if (result.ok()) request_id_ = 0;
  return result;
}

ResponseToken Alert::TakeResponseToken() {
  const std::uint64_t request_id = std::exchange(request_id_, 0);
  return request_id == 0 ? ResponseToken() : ResponseToken(endpoint_, sender_, request_id);
}

ResponseToken::ResponseToken(std::weak_ptr<internal::EndpointImpl> endpoint, const Peer& sender,
                             std::uint64_t request_id)
    : endpoint_(std::move(endpoint)), sender_(sender), request_id_(request_id) {
  if (const auto held_by = endpoint_.lock()) held_by->HoldRequest();
}

ResponseToken::ResponseToken(ResponseToken&& other) noexcept
    : endpoint_(std::move(other.endpoint_)),
      sender_(other.sender_),
      request_id_(std::exchange(other.request_id_, 0)) {}

ResponseToken& ResponseToken::operator=(ResponseToken&& other) noexcept {
  if (this == &other) return *this;
  GiveUp();
  endpoint_ = std::move(other.endpoint_);
  sender_ = other.sender_;
  request_id_ = std::exchange(other.request_id_, 0);
  return *this;
}

ResponseToken::~ResponseToken() { GiveUp(); }

void ResponseToken::GiveUp() {
  const std::uint64_t request_id = std::exchange(request_id_, 0);
  if (request_id == 0) return;
  if (const auto endpoint = endpoint_.lock()) endpoint->GiveUpRequest(sender_, request_id);
}

SendResult ResponseToken::Respond(std::string_view data) { return Complete(data, nullptr); }
SendResult ResponseToken::RespondOwned(Buffer data) { return Complete({}, &data); }

SendResult ResponseToken::Complete(std::string_view data, Buffer* owned) {
  if (request_id_ == 0)
    return absl::FailedPreconditionError("this token has no request that waits for a response");
  const std::shared_ptr<internal::EndpointImpl> endpoint = endpoint_.lock();
  if (endpoint == nullptr)
    return absl::FailedPreconditionError("the endpoint of this token was destroyed");
  SendResult result = endpoint->Respond(sender_, request_id_, data, owned);
  if (result.ok()) {
    request_id_ = 0;
    endpoint->LetRequestGo();
  }
  return result;
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
