with

source as (

    select
        *,
        {{ load_rank('feedback_id', '_landed_at') }} as load_rank
    from {{ landed(
        'activation',
        'feedback',
        ['feedback_id', 'destination', 'kind', 'email', 'contact_id', 'occurred_at', 'received_at'],
        optional=true
    ) }}

),

renamed as (

    select
        ---------- ids
        feedback_id,
        nullif(contact_id, '') as contact_id,
        ---------- attributes
        destination,
        kind,
        nullif(lower(trim(email)), '') as email,
        ---------- timestamps
        {{ utc_timestamp('occurred_at') }} as occurred_at,
        {{ utc_timestamp('received_at') }} as received_at
    from source
    where
        load_rank = 1
        and feedback_id is not null

),

known as (

    select *
    from renamed
    where received_at <= {{ as_of_at() }}

)

select * from known
