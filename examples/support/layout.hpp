// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

namespace access_log {

/// What stands before `identity user [time] "request" …`.
enum class log_layout {
    common,     ///< the client
    vhost,      ///< the virtual host, with or without a port; the client
    forwarded,  ///< a list as in X-Forwarded-For: the client, and the proxies on the way, with commas between
    syslog,     ///< the head of a line of syslog: time, host and program; the client
    compose,    ///< a container's name and a bar; the client
};

struct layout_name {
    log_layout layout;
    std::string_view name;
    std::string_view looks_like;
    std::string_view refused;  ///< of a line of this layout where another one was asked for
};

inline constexpr layout_name layouts[] = {
    {log_layout::common, "common", "203.0.113.7 - - [...", "nothing before the client: for --layout common"},
    {log_layout::vhost, "vhost", "example.org:443 203.0.113.7 - - [...",
     "a virtual host before the client: for --layout vhost"},
    {log_layout::forwarded, "forwarded", "203.0.113.7, 198.51.100.1 - - [...",
     "an X-Forwarded-For in the client's place: for --layout forwarded"},
    {log_layout::syslog, "syslog", "Dec 23 15:31:15 host nginx: 203.0.113.7 - - [...",
     "a head of syslog before the client: for --layout syslog"},
    {log_layout::compose, "compose", "web_1  | 203.0.113.7 - - [...",
     "a container's name before the client: for --layout compose"},
};

}  // namespace access_log
