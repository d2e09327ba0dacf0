#!/usr/bin/env perl
# Counts up the number in a file under a lock, with the modules that come with Perl: see README.md.
#
#   count-up.pl FILE TIMES
#
# Exits 0 when all is done, 70 when the lock was lost, 75 when it could not be had.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);

my ($path, $times) = @ARGV;
my $server   = $ENV{LOCKDB_SERVER_URL} // 'http://127.0.0.1:5625';
my $base     = "$server/v1/services/" . ($ENV{LOCKDB_SERVICE_ID} // 'examples');
my $lease_ms = $ENV{LEASE_MS} // 10_000;
my $work_ms  = $ENV{WORK_MS} // 0;

# Sends a JSON body. Gives the status and the answer; status 0: no answer came.
sub post {
    my ($to, $body, $timeout) = @_;
    my $http = HTTP::Tiny->new(timeout => $timeout, default_headers => { authorization => "Bearer $ENV{LOCKDB_API_KEY}" });
    my $answer = $http->post("$base$to", { content => encode_json($body), headers => { 'content-type' => 'application/json' } });
    return (0, {}) if $answer->{status} == 599;
    return ($answer->{status}, eval { decode_json($answer->{content}) } // {});
}

# Until when the lock is ours, by our own clock: counted from before the request was sent, less what clocks may differ.
sub trusted_until {
    my ($sent, $answer) = @_;
    return $sent + $answer->{expiresInMs} / 1000 * 0.97 - 0.2;
}

sub fail { my ($code, $why) = @_; print STDERR "$why\n"; exit $code }

sub request_id {
    open my $random, '<:raw', '/dev/urandom' or die "no randomness: $!";
    read $random, my $bytes, 16;
    return unpack 'H*', $bytes;
}

sub acquire {
    my $body = { names => 'counter', waitMs => 60_000, leaseMs => $lease_ms + 0, requestId => request_id(), owner => 'perl' };
    while (1) {
        my $sent = clock_gettime(CLOCK_MONOTONIC);
        my ($status, $answer) = post('/acquire', $body, 35);
        return ($answer->{token}, trusted_until($sent, $answer)) if $status == 200;
        next if $status == 202;    # Still waiting: the same again, at once.
        fail(75, "not acquired: $answer->{error}{message}") if $status == 423;
        fail(1, "refused: $status") unless grep { $status == $_ } 0, 429, 503;
        sleep 1;                   # Try again later; the id makes it the same request.
    }
}

# Ends when the work has, and ends the work when the lock is lost.
sub keep_while_running {
    my ($pid, $token, $until) = @_;
    my $next = clock_gettime(CLOCK_MONOTONIC) + $lease_ms / 3000;
    my $lose = sub { kill TERM => $pid; waitpid $pid, 0; fail(70, "lost the lock: $_[0]") };
    while (waitpid($pid, POSIX::WNOHANG()) == 0) {
        my $now = clock_gettime(CLOCK_MONOTONIC);
        $lose->('nothing was heard of it in time') if $now >= $until;
        if ($now >= $next) {
            $next = $now + $lease_ms / 3000;
            my ($status, $answer) = post('/renew', { token => $token }, 1);
            $until = trusted_until($now, $answer) if $status == 200;
            $lose->($answer->{error}{message}) if $status == 409;
        }
        sleep 0.02;
    }
    exit $? >> 8 if $?;
}

sub numbers {
    open my $file, '<', $path or die "$path: $!";
    return split ' ', scalar <$file>;
}

# The work: it takes its time, and writes only if nobody with a higher token was here.
sub work {
    my ($token) = @_;
    my ($count) = numbers();
    sleep $work_ms / 1000;
    my (undef, $fence) = numbers();
    fail(70, "a later holder was here: $fence > $token") if $fence > $token;
    open my $file, '>', "$path.$$" or die "$path.$$: $!";
    printf $file "%d %d\n", $count + 1, $token;
    close $file;
    rename "$path.$$", $path or die "$path: $!";
}

for (1 .. $times) {
    my ($token, $until) = acquire();
    my $pid = fork // die "fork: $!";
    if ($pid == 0) { work($token); exit 0 }
    keep_while_running($pid, $token, $until);
    post('/release', { token => $token }, 5);
}
