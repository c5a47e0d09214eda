"""Installing shipper: the configuration, the systemd unit, files for other programs."""
