-- Under half of the weights known is unknown, and only that.
{{ config(meta={"dagster": {"ref": {"name": "customer_health_history"}}}) }}
select
    customer_id,
    as_of_date,
    rules_version
from {{ ref('customer_health_history') }}
where (coverage < {{ health_threshold('coverage_min') }}) <> (health_band = 'unknown')
