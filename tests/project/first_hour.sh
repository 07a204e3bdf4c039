# The first hour with jwqlscan: what someone types who has just installed it, in an empty directory.
# Usage: sh first_hour.sh DIRECTORY POSTGRESQL_URL (its password is in PGPASSWORD); says "done".
set -eu
cd "$1"
url=$2

mkdir -p archive/public/jw01018 archive/proprietary/jw02000 central/logs
for number in 1 2 3; do
    echo data >"archive/public/jw01018/jw01018001001_02101_0000${number}_nrcb4_cal.fits"
done
echo data >archive/proprietary/jw02000/jw02000001001_02101_00001_mirimage_rate.fits
echo log >central/logs/monitor.log

jwqlscan --version
jwqlscan init --archive archive --central central --outputs www --config jwqlscan.toml
if jwqlscan init --archive elsewhere --config jwqlscan.toml; then exit 1; fi # it never overwrites
JWQLSCAN_CONFIG=$PWD/jwqlscan.toml
export JWQLSCAN_CONFIG
jwqlscan doctor
jwqlscan run
jwqlscan status
jwqlscan history --filetype cal
jwqlscan report
test -s www/monitor_filesystem/filesystem_monitor.html
jwqlscan check || test $? -lt 3 # the disk of this host may be nearly full
jwqlscan metrics -o jwqlscan.prom
test -s jwqlscan.prom

# Every night: cron runs the line with sh, without a terminal, and here without any environment.
jwqlscan schedule --cron >crontab
jwqlscan schedule --systemd >units
command=$(sed 's/^[^ ]* [^ ]* [^ ]* [^ ]* [^ ]*  *//; s/\\%/%/g' crontab)
(cd / && exec env -i /bin/sh -c "$command") </dev/null >mail 2>&1
test ! -s mail # what cron would send

echo new >archive/public/jw01018/jw01018001001_02101_00004_nrcb4_cal.fits
jwqlscan run
jwqlscan growth --since last --by program

# To PostgreSQL, where it goes on.
store=sqlite:///$PWD/.local/share/jwqlscan/jwqlscan.db
jwqlscan db copy "$store" "$url"
sed "s|^# url = .*|url = \"$url\"|" jwqlscan.toml >changed
mv changed jwqlscan.toml
jwqlscan doctor
jwqlscan run
jwqlscan status
jwqlscan db copy "$url" "$store"
jwqlscan db copy "$store" "$url"
jwqlscan db prune --keep 10y
echo done
