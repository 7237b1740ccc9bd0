with

source as (

    select
        *,
        {{ load_rank('delivery_id', '_landed_at') }} as load_rank
    from {{ landed(
        'activation',
        'deliveries',
        ['delivery_id', 'sync', 'event_id', 'customer_id', 'contact_id', 'outcome', 'settled_at'],
        optional=true
    ) }}

),

renamed as (

    select
        ---------- ids
        delivery_id,
        event_id,
        customer_id,
        contact_id,
        ---------- attributes
        {{ dbt.split_part('sync', "'/'", 1) }} as destination,
        -- the model trg_<trigger_name>
        substring({{ dbt.split_part('sync', "'/'", 2) }}, 5) as trigger_name,
        outcome,
        ---------- timestamps
        {{ utc_timestamp('settled_at') }} as settled_at
    from source
    where
        load_rank = 1
        and delivery_id is not null

),

known as (

    select *
    from renamed
    where settled_at <= {{ as_of_at() }}

)

select * from known
