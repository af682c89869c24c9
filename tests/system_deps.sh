# Install the Debian packages that some tests use (a browser, a database server), where this may be done.
# Elsewhere nothing happens and those tests are skipped with the reason.
set -u
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed here:$missing; the tests that need them will be skipped"
    exit 0
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
# A fresh database cluster is not wanted: the tests start their own.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
(apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing) >/dev/null 2>&1 ||
    echo "could not install$missing; the tests that need them will be skipped"
exit 0
