/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The version of the interface that the header libslirp.h describes.
 *
 * Generated from the library's source; do not edit.
 */
#ifndef LIBSLIRP_VERSION_H_
#define LIBSLIRP_VERSION_H_

#define SLIRP_MAJOR_VERSION 4
#define SLIRP_MINOR_VERSION 9
#define SLIRP_MICRO_VERSION 5
#define SLIRP_VERSION_STRING "4.9.5"

/* True when the interface is at least of this version. */
#define SLIRP_CHECK_VERSION(major, minor, micro)                             \
    (SLIRP_MAJOR_VERSION > (major) ||                                        \
     (SLIRP_MAJOR_VERSION == (major) && SLIRP_MINOR_VERSION > (minor)) ||    \
     (SLIRP_MAJOR_VERSION == (major) && SLIRP_MINOR_VERSION == (minor) &&    \
      SLIRP_MICRO_VERSION >= (micro)))

#endif /* LIBSLIRP_VERSION_H_ */
