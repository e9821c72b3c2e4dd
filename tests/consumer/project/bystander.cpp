// SPDX-License-Identifier: MIT
int bystander() {
    return 0;
}
