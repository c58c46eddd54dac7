// SPDX-License-Identifier: Apache-2.0
//
// The raw pipe that anybody would write first: each alert is a write of its own.
#include "transport.h"
#include "transports/raw_link.h"

namespace alertpipe::bench {
namespace {

class RawPipeTransport {
 public:
  using Link = RawLink;
  static constexpr std::string_view kName = "raw-pipe";
  static constexpr Abilities kCan = {/*linger=*/true, /*run=*/false};
  static absl::StatusOr<std::unique_ptr<RawTransport>> Create(const Settings& settings) {
    return RawTransport::Create(settings, {/*packed=*/false, /*run=*/0});
  }
};

const Registered<RawPipeTransport> kRegistered;

}  // namespace
}  // namespace alertpipe::bench
