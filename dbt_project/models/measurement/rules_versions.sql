-- The versions of the rules side by side: how many days of how many customers another version scored otherwise.
with

history as (

    select * from {{ ref('customer_health_history') }}

),

versions as (

    select
        rules_version,
        min(as_of_date) as first_date,
        max(as_of_date) as last_date,
        min(published_at) as first_published_at,
        count(*) as customer_days
    from history
    group by rules_version

),

compared as (

    select
        other.rules_version,
        count(*) as days_compared,
        sum(case when other.health_band <> present.health_band then 1 else 0 end) as bands_changed,
        sum(case when other.health_band <> 'risk' and present.health_band = 'risk' then 1 else 0 end) as newly_at_risk,
        sum(case when other.health_band = 'risk' and present.health_band <> 'risk' then 1 else 0 end) as no_longer_at_risk,
        {{ ratio('sum(abs(other.health_score - present.health_score))', 'count(other.health_score - present.health_score)') }}
            as mean_difference
    from history as other
    inner join history as present
        on
            other.customer_id = present.customer_id
            and other.as_of_date = present.as_of_date
            and present.rules_version = {{ rules_version() }}
    group by other.rules_version

),

final as (

    select
        versions.rules_version,
        versions.rules_version = {{ rules_version() }} as is_present,
        versions.first_date,
        versions.last_date,
        versions.first_published_at,
        cast(versions.customer_days as bigint) as customer_days,
        cast(coalesce(compared.days_compared, 0) as bigint) as days_compared,
        cast(coalesce(compared.bands_changed, 0) as bigint) as bands_changed,
        cast(coalesce(compared.newly_at_risk, 0) as bigint) as newly_at_risk,
        cast(coalesce(compared.no_longer_at_risk, 0) as bigint) as no_longer_at_risk,
        {{ rounded('compared.mean_difference', 5, 2) }} as mean_difference
    from versions
    left join compared
        on versions.rules_version = compared.rules_version

)

select * from final
