// SPDX-License-Identifier: MIT
//
// Sends datagrams of counters to a StatsD server, at a given rate: what bench.py measures servers with.
//
//     07_statsd_load PORT PACKETS PACKETS_A_SECOND [VALUES_A_PACKET [KEYS]]
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

constexpr std::size_t sockets = 8;  // as many senders: the kernel spreads these over the server's threads
constexpr std::size_t at_once = 32;

int connect_to(int port) {
    int const to = ::socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in at = {};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<std::uint16_t>(port));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (to < 0 || ::connect(to, reinterpret_cast<sockaddr const*>(&at), sizeof at) != 0) {
        throw std::system_error(errno, std::generic_category(), "cannot make a socket");
    }
    return to;
}

/// Packets that differ, with all keys in them.
std::vector<std::string> make_packets(std::size_t values, std::size_t keys) {
    std::vector<std::string> all;
    std::size_t key = 0;
    for (std::size_t i = 0; i < 1'024; ++i) {
        std::string text;
        for (std::size_t value = 0; value < values; ++value) {
            if (value > 0) text += '\n';
            text += "load.service.requests." + std::to_string(key) + ":1|c";
            key = (key + 1) % keys;
        }
        all.push_back(std::move(text));
    }
    return all;
}

void send_all(int port, std::uint64_t packets, double rate, std::vector<std::string>& texts) {
    std::array<int, sockets> to = {};
    for (auto& one : to) one = connect_to(port);
    std::vector<iovec> parts;
    for (auto& text : texts) parts.push_back({.iov_base = text.data(), .iov_len = text.size()});
    std::array<mmsghdr, at_once> messages = {};
    auto const began = clock_type::now();
    std::uint64_t sent = 0;
    for (std::size_t turn = 0; sent < packets; ++turn) {
        auto const due = began + std::chrono::duration_cast<clock_type::duration>(
                                     std::chrono::duration<double>(static_cast<double>(sent) / rate));
        if (due > clock_type::now() + std::chrono::microseconds(100)) std::this_thread::sleep_until(due);
        std::size_t const count = sent + at_once > packets ? static_cast<std::size_t>(packets - sent) : at_once;
        for (std::size_t i = 0; i < count; ++i) {
            messages[i].msg_hdr.msg_iov = &parts[(turn * at_once + i) % parts.size()];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        int const done = ::sendmmsg(to[turn % sockets], messages.data(), static_cast<unsigned>(count), 0);
        if (done < 0) throw std::system_error(errno, std::generic_category(), "cannot send");
        sent += static_cast<std::uint64_t>(done);
    }
    std::chrono::duration<double> const took = clock_type::now() - began;
    for (int const one : to) ::close(one);
    std::printf("%ju %.0f\n", std::uintmax_t{sent}, static_cast<double>(sent) / took.count());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr, "usage: %s PORT PACKETS PACKETS_A_SECOND [VALUES_A_PACKET [KEYS]]\n", argv[0]);
        return 2;
    }
    try {
        auto const number = [&](int index, unsigned long otherwise) {
            return index < argc ? std::strtoul(argv[index], nullptr, 10) : otherwise;
        };
        auto texts = make_packets(number(4, 1), number(5, 1'000));
        send_all(static_cast<int>(number(1, 0)), number(2, 0), std::strtod(argv[3], nullptr), texts);
        return 0;
    } catch (std::exception const& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
}
