// SPDX-License-Identifier: Apache-2.0
//
// An alert as its handler sees it.
#ifndef ALERTPIPE_ALERT_H_
#define ALERTPIPE_ALERT_H_

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

 private:
  friend class internal::EndpointImpl;
  Alert(std::string_view name, std::string_view data, const Peer& sender,
        core::GrowBuffer* collected, const std::shared_ptr<internal::EndpointImpl>& endpoint)
      : name_(name), data_(data), sender_(sender), collected_(collected), endpoint_(endpoint) {}

  SendResult ReplyOwned(std::string_view name, Buffer data) const;

  std::string_view name_;
  std::string_view data_;
  Peer sender_;
  core::GrowBuffer* collected_;  // what data_ lies in, when that can be moved out
  const std::shared_ptr<internal::EndpointImpl>& endpoint_;
};

// Called on the endpoint's thread, from its loop, never from inside a Send. May do anything: send
// (to itself, too), broadcast, reply, add and remove handlers (its own, too), close or destroy the
// endpoint. What it throws is caught and given to OnHandlerError.
using Handler = absl::AnyInvocable<void(Alert&)>;

}  // namespace alertpipe

#endif  // ALERTPIPE_ALERT_H_
