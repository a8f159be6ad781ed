# SPDX-License-Identifier: MIT
# Runs at the end of `cmake --install`, with what CMakeLists.txt has set before.

# Absolute, as it is on the host that all of this is for: without DESTDIR.
function(absolute path ret)
  if(NOT IS_ABSOLUTE ${path})
    set(path "${CMAKE_INSTALL_PREFIX}/${path}")
  endif()
  cmake_path(NORMAL_PATH path)
  set(${ret} ${path} PARENT_SCOPE)
endfunction()

absolute(${bindir} BINDIR)
absolute(${docdir} DOCDIR)
# /usr has its configuration in /etc, and nothing else has.
if(NOT IS_ABSOLUTE ${sysconfdir} AND CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(sysconfdir "/${sysconfdir}")
endif()
absolute(${sysconfdir} SYSCONFDIR)
if(systemd_version VERSION_GREATER_EQUAL 253)
  set(SERVICE_TYPE notify-reload)
  set(EXEC_RELOAD "")
else()
  set(SERVICE_TYPE notify)
  set(EXEC_RELOAD "\nExecReload=kill -HUP $MAINPID")
endif()

foreach(file IN LISTS files)
  configure_file("${source}/${file}.in" "${folder}/${file}" @ONLY)
  cmake_path(GET file PARENT_PATH where)
  file(INSTALL "${folder}/${file}" DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/${where}")
endforeach()

# What an administrator has written there stays.
file(INSTALL "${source}/bus-router.conf" DESTINATION "${DOCDIR}/examples")
if(NOT EXISTS "$ENV{DESTDIR}${SYSCONFDIR}/bus-router/bus-router.conf")
  file(INSTALL "${source}/bus-router.conf" DESTINATION "${SYSCONFDIR}/bus-router")
endif()
