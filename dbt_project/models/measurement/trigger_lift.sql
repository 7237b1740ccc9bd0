-- What each trigger changed: the metric of its playbook among customers it could reach against those held out. One
-- customer counts once. Shares get a success and a failure each before they are compared (Agresti and Caffo 2000), so that
-- few customers do not look certain.
with

outcomes as (

    select *
    from {{ ref('trigger_outcomes') }}
    where
        is_judged
        and outcome is not null

),

playbooks as (

    select * from {{ ref('playbooks') }}

),

experiments as (

    select * from {{ ref('experiments') }}

),

arms as (

    select
        trigger_name,
        metric,
        is_held_out,
        cast(count(*) as double precision) as customers,
        cast(sum(outcome) as double precision) as total,
        cast(sum(outcome * outcome) as double precision) as squares
    from outcomes
    group by
        trigger_name,
        metric,
        is_held_out

),

-- of a share the two added ones pull it towards the middle, of revenue nothing is added
measured as (

    select
        trigger_name,
        metric,
        is_held_out,
        customers,
        total / customers as mean,
        case
            when metric = 'nrr' then total / customers
            else (total + 1) / (customers + 2)
        end as centred_mean,
        case
            when metric = 'nrr' then (squares - total * total / customers) / nullif(customers - 1, 0) / customers
            else (total + 1) / (customers + 2) * (1 - (total + 1) / (customers + 2)) / (customers + 2)
        end as variance
    from arms

),

compared as (

    select
        playbooks.trigger_name,
        playbooks.success_metric as metric,
        playbooks.experiment,
        coalesce(treated.customers, 0) as treated,
        coalesce(held_out.customers, 0) as held_out,
        treated.mean as treated_mean,
        held_out.mean as held_out_mean,
        treated.mean - held_out.mean as lift,
        treated.centred_mean - held_out.centred_mean as centred_lift,
        sqrt(treated.variance + held_out.variance) as standard_error,
        coalesce(experiments.customers_needed, 0) as customers_needed,
        experiments.smallest_effect
    from playbooks
    left join experiments
        on playbooks.experiment = experiments.experiment
    left join measured as treated
        on
            playbooks.trigger_name = treated.trigger_name
            and not treated.is_held_out
    left join measured as held_out
        on
            playbooks.trigger_name = held_out.trigger_name
            and held_out.is_held_out

),

final as (

    select
        trigger_name,
        metric,
        cast(treated as integer) as treated,
        cast(held_out as integer) as held_out,
        {{ rounded('treated_mean', 9, 4) }} as treated_mean,
        {{ rounded('held_out_mean', 9, 4) }} as held_out_mean,
        {{ rounded('lift', 9, 4) }} as lift,
        {{ rounded('centred_lift - 1.96 * standard_error', 9, 4) }} as lift_low,
        {{ rounded('centred_lift + 1.96 * standard_error', 9, 4) }} as lift_high,
        -- found four times in five where it is there
        {{ rounded('(1.96 + 0.84) * standard_error', 9, 4) }} as minimum_detectable,
        cast(case
            when experiment is null then null
            when treated + held_out < customers_needed then customers_needed - treated - held_out
            else 0
        end as integer) as customers_still_needed,
        case
            when experiment is null then 'no experiment'
            when treated + held_out < customers_needed or standard_error is null then 'cannot tell yet'
            when centred_lift - 1.96 * standard_error > 0 then 'works'
            when centred_lift + 1.96 * standard_error < 0 then 'harms'
            when (1.96 + 0.84) * standard_error <= smallest_effect then 'no effect'
            else 'cannot tell yet'
        end as verdict
    from compared

)

select * from final
