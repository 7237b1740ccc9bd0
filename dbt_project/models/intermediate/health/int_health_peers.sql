-- What peers reach in each dimension: the mean by tier and tenure over the days of the reference, read once under a
-- version of the rules and then frozen. A small group leans on all customers.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}

with

scored as (

    select *
    from {{ ref('int_customer_days__scored') }}
    where
        rules_version = {{ rules_version() }}
        and {{ is_first_reading() }}

),

first_day as (

    select min(case when as_of_date > cast('{{ var("health_reference_until") }}' as date) then 1 else 0 end) as begins_later
    from scored

),

sampled as (

    select scored.*
    from scored
    cross join first_day
    where
        scored.as_of_date <= cast('{{ var("health_reference_until") }}' as date)
        or first_day.begins_later = 1

),

everybody as (

    select
        {% for dimension in var('dimensions') %}
        {{ ratio('sum(' ~ dimension ~ '_score)', 'count(' ~ dimension ~ '_score)') }} as {{ dimension }}_score,
        {% endfor %}
        count(*) as customer_days
    from sampled

),

grouped as (

    select
        tier,
        tenure_band,
        {% for dimension in var('dimensions') %}
        {{ ratio('sum(' ~ dimension ~ '_score)', 'count(' ~ dimension ~ '_score)') }} as {{ dimension }}_score,
        {% endfor %}
        count(distinct customer_id) as customers
    from sampled
    group by
        tier,
        tenure_band

),

final as (

    select
        {{ rules_version() }} as rules_version,
        tiers.tier,
        tenure_bands.tenure_band,
        {% for dimension in var('dimensions') %}
        {{ rounded(
            '(coalesce(grouped.customers, 0) * coalesce(grouped.' ~ dimension ~ '_score, everybody.' ~ dimension ~ '_score) + '
            ~ health_threshold('reference_shrinkage') ~ ' * everybody.' ~ dimension ~ '_score) / (coalesce(grouped.customers, 0) + '
            ~ health_threshold('reference_shrinkage') ~ ')', 5, 2
        ) }} as {{ dimension }}_score,
        {% endfor %}
        cast(coalesce(grouped.customers, 0) as integer) as customers
    from {{ ref('tiers') }} as tiers
    cross join {{ ref('tenure_bands') }} as tenure_bands
    cross join everybody
    left join grouped
        on
            tiers.tier = grouped.tier
            and tenure_bands.tenure_band = grouped.tenure_band
    where everybody.customer_days > 0

)

select * from final
