// SPDX-License-Identifier: MIT
//
// A variable of the environment for as long as a test wants it.
#pragma once

#include <cstdlib>
#include <string>
#include <utility>

namespace tests {

class environment_variable {
public:
    environment_variable(std::string name, std::string const& text) : name_(std::move(name)) {
#if defined(_WIN32)
        _putenv_s(name_.c_str(), text.c_str());
#else
        setenv(name_.c_str(), text.c_str(), 1);
#endif
    }
    environment_variable(environment_variable const&) = delete;
    environment_variable& operator=(environment_variable const&) = delete;
    ~environment_variable() {
#if defined(_WIN32)
        _putenv_s(name_.c_str(), "");
#else
        unsetenv(name_.c_str());
#endif
    }

private:
    std::string const name_;
};

}  // namespace tests
