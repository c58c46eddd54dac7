// SPDX-License-Identifier: Apache-2.0
//
// An alert as its handler sees it.
#ifndef ALERTPIPE_ALERT_H_
#define ALERTPIPE_ALERT_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>

#include <alertpipe/buffer.h>
#include <alertpipe/export.h>
#include <alertpipe/peer.h>
#include <alertpipe/result.h>

namespace alertpipe {

namespace core {
class GrowBuffer;
}
namespace internal {
class EndpointImpl;
}

// Replies to the sender of an alert after its handler has returned. Copyable; holds neither the
// alert nor the endpoint. Use it on the endpoint's thread only.
class ALERTPIPE_EXPORT ReplyToken {
 public:
  // Sends an ordinary alert to exactly the incarnation that sent the original one. Errors as
  // Endpoint::Send; also kFailedPrecondition when the endpoint has been destroyed since.
  SendResult Reply(std::string_view name, std::string_view data = {}) const;
  template <typename Owned, typename = internal::IfBuffer<Owned>>
  SendResult Reply(std::string_view name, Owned data) const {
    return ReplyOwned(name, std::move(data));
  }

  const Peer& sender() const { return sender_; }

 private:
  SendResult ReplyOwned(std::string_view name, Buffer data) const;

  friend class Alert;
  ReplyToken(std::weak_ptr<internal::EndpointImpl> endpoint, const Peer& sender);

  std::weak_ptr<internal::EndpointImpl> endpoint_;
  Peer sender_;
};

// Completes one request after its handler has returned. Move-only. A token that is destroyed before
// it has completed its request tells the requester that there is no response (kUnhandled). Use and
// destroy it on the endpoint's thread only.
class ALERTPIPE_EXPORT ResponseToken {
 public:
  // Of no request.
  ResponseToken() = default;
  ResponseToken(ResponseToken&& other) noexcept;
  ResponseToken& operator=(ResponseToken&& other) noexcept;
  ~ResponseToken();

  // As Alert::Respond; also kFailedPrecondition when the endpoint has been destroyed since.
  SendResult Respond(std::string_view data = {});
  template <typename Owned, typename = internal::IfBuffer<Owned>>
  SendResult Respond(Owned data) {
    return RespondOwned(std::move(data));
  }

  // Whether it can still complete its request.
  bool open() const { return request_id_ != 0; }
  // Who wants the response.
  const Peer& sender() const { return sender_; }

 private:
  SendResult RespondOwned(Buffer data);
  SendResult Complete(std::string_view data, Buffer* owned);
  void GiveUp();

  friend class Alert;
  ResponseToken(std::weak_ptr<internal::EndpointImpl> endpoint, const Peer& sender,
                std::uint64_t request_id);

  std::weak_ptr<internal::EndpointImpl> endpoint_;
  Peer sender_;
  std::uint64_t request_id_ = 0;  // 0 when there is nothing (left) to complete
};

// One received alert. Exists only while its handler runs: keep copies, a ReplyToken or TakeData(),
// never the reference.
class ALERTPIPE_EXPORT Alert {
 public:
  Alert(const Alert&) = delete;
  Alert& operator=(const Alert&) = delete;

  // The name, 0 to 254 bytes. Valid until the handler returns.
  std::string_view name() const { return name_; }

  // The data, 0 to 4,294,967,040 bytes. Valid until the handler returns or TakeData() is called,
  // also when the handler destroys the endpoint.
  std::string_view data() const { return data_; }

  // The incarnation that sent it.
  const Peer& sender() const { return sender_; }

  // Moves the data out. No copy is made of data that needed more than one packet (more than about
  // 4,000 bytes); less is copied into a new Buffer. Afterwards data() is empty. kResourceExhausted
  // when memory for the copy is short; data() is then unchanged.
  absl::StatusOr<Buffer> TakeData();

  // Sends an ordinary alert to exactly the incarnation that sent this one. Errors as
  // Endpoint::Send: kUnavailable when it is dead by now, even if its slot has a new worker.
  SendResult Reply(std::string_view name, std::string_view data = {}) const;
  template <typename Owned, typename = internal::IfBuffer<Owned>>
  SendResult Reply(std::string_view name, Owned data) const {
    return ReplyOwned(name, std::move(data));
  }

  // For a reply after the handler has returned.
  ReplyToken reply_token() const;

  // Whether the sender waits for a response (Endpoint::Request).
  bool is_request() const { return is_request_; }

  // Completes the request. Errors as Endpoint::Send: after kResourceExhausted it may be tried
  // again, from here or, later, by a token; after kUnavailable the requester is dead and nobody
  // waits. kFailedPrecondition when this alert is no request, or has been completed, or its token
  // was taken. A handler that returns with neither response nor token ends the request as
  // kUnhandled.
  SendResult Respond(std::string_view data = {});
  template <typename Owned, typename = internal::IfBuffer<Owned>>
  SendResult Respond(Owned data) {
    return RespondOwned(std::move(data));
  }

  // For a response after the handler has returned. Not open when this alert is no request, or has
  // been completed, or its token was taken before.
  ResponseToken TakeResponseToken();

 private:
  friend class internal::EndpointImpl;
  Alert(std::string_view name, std::string_view data, const Peer& sender, std::uint64_t request_id,
        core::GrowBuffer* collected, const std::shared_ptr<internal::EndpointImpl>& endpoint)
      : name_(name),
        data_(data),
        sender_(sender),
        is_request_(request_id != 0),
        request_id_(request_id),
        collected_(collected),
        endpoint_(endpoint) {}

  SendResult ReplyOwned(std::string_view name, Buffer data) const;
  SendResult RespondOwned(Buffer data);
  SendResult Complete(std::string_view data, Buffer* owned);

  std::string_view name_;
  std::string_view data_;
  Peer sender_;
  bool is_request_;
  std::uint64_t request_id_;     // 0 when there is nothing (left) to complete
  core::GrowBuffer* collected_;  // what data_ lies in, when that can be moved out
  const std::shared_ptr<internal::EndpointImpl>& endpoint_;
};

// Called on the endpoint's thread, from its loop, never from inside a Send. May do anything: send
// (to itself, too), broadcast, reply, add and remove handlers (its own, too), close or destroy the
// endpoint. What it throws is caught and given to OnHandlerError.
using Handler = absl::AnyInvocable<void(Alert&)>;

}  // namespace alertpipe

#endif  // ALERTPIPE_ALERT_H_
