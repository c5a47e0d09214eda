"""The files of `shipper assets`: they are what Prometheus and Grafana take."""
