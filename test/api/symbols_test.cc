// SPDX-License-Identifier: Apache-2.0
//
// Every function that a public header declares must come out of the built library: this file takes
// the address of each, so a missing export does not link. What an object of each type may do (copy,
// move) is fixed here as well.
#include <alertpipe/alertpipe.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "runner/test_case.h"

namespace alertpipe {
namespace {

// Names which overload is meant, and keeps the compiler from seeing through the address.
template <typename Function>
bool Linked(Function function) {
  volatile auto kept = function;
  return kept != nullptr;
}

TEST(Symbols, FreeFunctions) {
  EXPECT_TRUE(Linked(&Version));
  EXPECT_TRUE(Linked(static_cast<std::string_view (*)(UndeliveredReason)>(&ToString)));
  EXPECT_TRUE(Linked(static_cast<std::string_view (*)(ResponseOutcome)>(&ToString)));
  EXPECT_TRUE(Linked(static_cast<std::string (*)(const Peer&)>(&ToString)));
  EXPECT_TRUE(Linked(static_cast<std::string_view (*)(SlotState)>(&ToString)));
  EXPECT_TRUE(Linked(static_cast<std::string_view (*)(Diagnostic::Kind)>(&ToString)));
  EXPECT_TRUE(Linked(&ReadFamilyStats));
}

TEST(Symbols, Buffer) {
  EXPECT_TRUE(Linked(&Buffer::Allocate));
  EXPECT_TRUE(Linked(&Buffer::Copy));
  EXPECT_TRUE(Linked(&Buffer::Adopt));
  Buffer from_string(std::string(100, 'x'));
  Buffer moved(std::move(from_string));
  moved = Buffer();
  EXPECT_TRUE(moved.empty());
}

TEST(Symbols, Alert) {
  using View = std::string_view;
  EXPECT_TRUE(Linked(&Alert::TakeData));
  EXPECT_TRUE(Linked(static_cast<SendResult (Alert::*)(View, View) const>(&Alert::Reply)));
  EXPECT_TRUE(
      Linked(static_cast<SendResult (Alert::*)(View, Buffer) const>(&Alert::Reply<Buffer>)));
  EXPECT_TRUE(Linked(&Alert::reply_token));
  EXPECT_TRUE(
      Linked(static_cast<SendResult (ReplyToken::*)(View, View) const>(&ReplyToken::Reply)));
  EXPECT_TRUE(Linked(
      static_cast<SendResult (ReplyToken::*)(View, Buffer) const>(&ReplyToken::Reply<Buffer>)));
}

TEST(Symbols, Requests) {
  using View = std::string_view;
  using absl::Duration;
  EXPECT_TRUE(Linked(&Alert::is_request));
  EXPECT_TRUE(Linked(static_cast<SendResult (Alert::*)(View)>(&Alert::Respond)));
  EXPECT_TRUE(Linked(static_cast<SendResult (Alert::*)(Buffer)>(&Alert::Respond<Buffer>)));
  EXPECT_TRUE(Linked(&Alert::TakeResponseToken));
  EXPECT_TRUE(Linked(static_cast<SendResult (ResponseToken::*)(View)>(&ResponseToken::Respond)));
  EXPECT_TRUE(
      Linked(static_cast<SendResult (ResponseToken::*)(Buffer)>(&ResponseToken::Respond<Buffer>)));
  ResponseToken token;
  ResponseToken moved(std::move(token));
  token = std::move(moved);
  EXPECT_FALSE(token.open());
  EXPECT_TRUE(Linked(&Response::status));
  EXPECT_TRUE(Linked(&Response::TakeData));
  EXPECT_TRUE(
      Linked(static_cast<SendResult (Endpoint::*)(To, View, View, Duration, ResponseCallback)>(
          &Endpoint::Request)));
  EXPECT_TRUE(
      Linked(static_cast<SendResult (Endpoint::*)(To, View, Buffer, Duration, ResponseCallback)>(
          &Endpoint::Request<Buffer>)));
  EXPECT_TRUE(Linked(&Endpoint::Gather));
  EXPECT_TRUE(Linked(&Endpoint::WhenWorkers));
}

TEST(Symbols, Endpoint) {
  using View = std::string_view;
  EXPECT_TRUE(Linked(static_cast<SendResult (Endpoint::*)(To, View, View)>(&Endpoint::Send)));
  EXPECT_TRUE(
      Linked(static_cast<SendResult (Endpoint::*)(To, View, Buffer)>(&Endpoint::Send<Buffer>)));
  EXPECT_TRUE(
      Linked(static_cast<BroadcastResult (Endpoint::*)(View, View, Scope)>(&Endpoint::Broadcast)));
  EXPECT_TRUE(Linked(static_cast<BroadcastResult (Endpoint::*)(View, Buffer, Scope)>(
      &Endpoint::Broadcast<Buffer>)));
  EXPECT_TRUE(Linked(&Endpoint::Flush));
  EXPECT_TRUE(Linked(static_cast<std::size_t (Endpoint::*)() const>(&Endpoint::QueuedBytes)));
  EXPECT_TRUE(Linked(static_cast<std::size_t (Endpoint::*)(int) const>(&Endpoint::QueuedBytes)));
  EXPECT_TRUE(Linked(static_cast<Result (Endpoint::*)(View, Handler)>(&Endpoint::Receive)));
  EXPECT_TRUE(Linked(
      static_cast<Result (Endpoint::*)(std::initializer_list<NamedHandler>)>(&Endpoint::Receive)));
  EXPECT_TRUE(Linked(
      static_cast<Result (Endpoint::*)(const std::vector<NamedHandler>&)>(&Endpoint::Receive)));
  EXPECT_TRUE(Linked(&Endpoint::ReceiveDefault));
  EXPECT_TRUE(Linked(&Endpoint::Remove));
  EXPECT_TRUE(Linked(&Endpoint::OnUndelivered));
  EXPECT_TRUE(Linked(&Endpoint::OnHandlerError));
  EXPECT_TRUE(Linked(&Endpoint::OnDrained));
  EXPECT_TRUE(Linked(&Endpoint::OnJoined));
  EXPECT_TRUE(Linked(&Endpoint::OnLeft));
  EXPECT_TRUE(Linked(&Endpoint::OnDamage));
  EXPECT_TRUE(Linked(&Endpoint::OnDiagnostic));
  EXPECT_TRUE(Linked(&Endpoint::self));
  EXPECT_TRUE(Linked(&Endpoint::master));
  EXPECT_TRUE(Linked(&Endpoint::Workers));
  EXPECT_TRUE(Linked(&Endpoint::stats));
  EXPECT_TRUE(Linked(&Endpoint::Close));
}

TEST(Symbols, SlotWorkerMaster) {
  EXPECT_TRUE(Linked(&Slot::number));
  EXPECT_TRUE(Linked(&Slot::generation));
  EXPECT_TRUE(Linked(&Worker::Attach));
  EXPECT_TRUE(Linked(&Worker::OnMasterGone));
  EXPECT_TRUE(Linked(&Master::Create));
  EXPECT_TRUE(Linked(&Master::Attach));
  EXPECT_TRUE(Linked(&Master::Spawn));
  EXPECT_TRUE(Linked(&Master::Respawn));
  EXPECT_TRUE(Linked(&Master::Retire));
  EXPECT_TRUE(Linked(&Master::Replace));
  EXPECT_TRUE(Linked(&Master::RestartAll));
  EXPECT_TRUE(Linked(&Master::OnExit));
  EXPECT_TRUE(Linked(&Master::Service));
  EXPECT_TRUE(Linked(&Master::pipe_capacity));
  EXPECT_TRUE(Linked(&Master::StatsOf));
}

TEST(Symbols, Supervisor) {
  EXPECT_TRUE(Linked(&Supervisor::Create));
  EXPECT_TRUE(Linked(&Supervisor::Start));
  EXPECT_TRUE(Linked(&Supervisor::RestartAll));
  EXPECT_TRUE(Linked(static_cast<Result (Supervisor::*)()>(&Supervisor::Stop)));
  EXPECT_TRUE(Linked(static_cast<Result (Supervisor::*)(absl::Duration)>(&Supervisor::Stop)));
  EXPECT_TRUE(Linked(&Supervisor::master));
  EXPECT_TRUE(Linked(&Supervisor::loop));
  EXPECT_TRUE(Linked(&Supervisor::stopped));
  EXPECT_TRUE(Linked(&Supervisor::result));
  EXPECT_TRUE(Linked(&RunSupervised));
  EXPECT_TRUE(Linked(static_cast<std::string_view (*)(SupervisorResult)>(&ToString)));
  EXPECT_TRUE(Linked(static_cast<std::string (*)(const SupervisorEvent&)>(&ToString)));
}

static_assert(std::is_nothrow_move_constructible_v<Buffer> &&
              !std::is_copy_constructible_v<Buffer>);
static_assert(std::is_nothrow_move_constructible_v<Slot> && !std::is_copy_constructible_v<Slot>);
static_assert(!std::is_copy_constructible_v<Alert> && !std::is_move_constructible_v<Alert>);
static_assert(!std::is_copy_constructible_v<Response> && !std::is_move_constructible_v<Response>);
static_assert(std::is_nothrow_move_constructible_v<ResponseToken> &&
              !std::is_copy_constructible_v<ResponseToken>);
static_assert(!std::is_copy_constructible_v<Worker> && !std::is_move_constructible_v<Worker>);
static_assert(!std::is_copy_constructible_v<Supervisor> &&
              !std::is_move_constructible_v<Supervisor>);
static_assert(!std::is_copy_constructible_v<Master> && !std::is_move_constructible_v<Master>);
static_assert(std::is_copy_constructible_v<ReplyToken> && std::is_copy_constructible_v<SendResult>);
static_assert(std::is_convertible_v<SendResult, absl::Status> &&
              std::is_convertible_v<Result, absl::Status>);
static_assert(std::is_convertible_v<pid_t, To> && std::is_convertible_v<Peer, To>);
static_assert(!std::is_convertible_v<std::string, Buffer>, "handing over must be written out");

}  // namespace
}  // namespace alertpipe
