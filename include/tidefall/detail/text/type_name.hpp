// SPDX-License-Identifier: MIT
//
// The name of a type, without run-time type information: cut from what the compiler says of a function template.
#pragma once

#include <tidefall/version.hpp>

#include <cstddef>
#include <string_view>

namespace tidefall::inline v0::detail {

template <typename T>
constexpr std::string_view signature_with() noexcept {
#if defined(_MSC_VER) && !defined(__clang__)
    return __FUNCSIG__;
#else
    return __PRETTY_FUNCTION__;
#endif
}

/// As the compiler writes it, with its namespaces. What stands before and after is the same for every type.
template <typename T>
constexpr std::string_view written_name_of() noexcept {
    constexpr std::string_view sample = "double";
    constexpr auto with_sample = signature_with<double>();
    constexpr auto before = with_sample.find(sample);
    static_assert(before != with_sample.npos);
    constexpr auto after = with_sample.size() - before - sample.size();
    constexpr auto all = signature_with<T>();
    return all.substr(before, all.size() - before - after);
}

/// Without the kind of type that MSVC writes before it, namespaces, enclosing classes and functions, and template
/// arguments: `b` of `struct app::a<int>::b<long>`, `{anonymous}::b`, `(anonymous namespace)::b` and `main()::b`.
constexpr std::string_view unqualified(std::string_view name) noexcept {
    std::size_t begin = 0;
    std::size_t depth = 0;
    for (std::size_t i = 0; i < name.size(); ++i) {
        char const c = name[i];
        if (c == '<' || c == '(' || c == '[' || c == '{') ++depth;
        if ((c == '>' || c == ')' || c == ']' || c == '}') && depth > 0) --depth;
        if (depth == 0 && (c == ' ' || c == ':')) begin = i + 1;
    }
    auto const rest = name.substr(begin);
    auto const plain = rest.substr(0, rest.find('<'));
    return plain.empty() ? name : plain;
}

/// The unqualified name of a class.
template <typename T>
inline constexpr std::string_view name_of_type = unqualified(written_name_of<T>());

}  // namespace tidefall::inline v0::detail
