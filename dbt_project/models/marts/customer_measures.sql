{{ config(materialized='view') }}

-- The measures of health as rows: what stands side by side where it is computed, one below the other for those who read.
with

measured as (

    select * from {{ ref('int_customer_days__measured') }}

),

scored as (

    select * from {{ ref('int_customer_days__scored') }}

),

rules as (

    select * from {{ ref('health_measures') }}

),

joined as (

    select
        {% for measure in var('measures') %}
        scored.{{ measure }}_points,
        {% endfor %}
        measured.*
    from measured
    inner join scored
        on
            measured.customer_id = scored.customer_id
            and measured.as_of_date = scored.as_of_date
            and measured.rules_version = scored.rules_version

),

tall as (

    {% for measure in var('measures') %}
    select
        customer_id,
        as_of_date,
        rules_version,
        '{{ measure }}' as measure,
        {{ measure }}_raw as raw_value,
        {{ measure }}_age_days as age_days,
        {{ measure }}_points as points
    from joined
    {% if not loop.last %}

    union all

    {% endif %}
    {% endfor %}

),

final as (

    select
        tall.customer_id,
        tall.as_of_date,
        tall.rules_version,
        tall.measure,
        rules.dimension,
        cast(tall.raw_value as decimal(18, 6)) as raw_value,
        tall.points is not null as is_present,
        tall.age_days,
        tall.points
    from tall
    inner join rules
        on tall.measure = rules.measure

)

select * from final
